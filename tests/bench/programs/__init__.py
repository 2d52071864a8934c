"""Everyday Keras programs, small: sound ones, and faulty ones made from them by one change each."""
