"""What the TensorBoard side shares with the outlet. Imports neither keras nor tensorflow."""
