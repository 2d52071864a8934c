"""Rows of sums to numbers: NumPy only."""
