"""Where updates go: the console, TensorBoard."""
