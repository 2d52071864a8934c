"""The mathematics of initialisation: fans, Gaussian expectations, propagation of signals."""
