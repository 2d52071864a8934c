"""The only room that knows Keras's insides: observing the real training step."""
