"""A zoo of small trainings: healthy ones, and twins of them with one fault planted each.

What initwatch says about each of them is held against what is known of it. See ``__main__``.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(name, "1")  # processes are what runs side by side
