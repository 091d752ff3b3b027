"""A small copy of the paper's comparison, for one GPU."""
