"""The TensorBoard tab: its log, its answers, its server. Imports neither keras nor tensorflow."""
