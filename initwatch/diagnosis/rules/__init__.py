"""One rule, one file. ``diagnosis.catalogue`` lists them."""
