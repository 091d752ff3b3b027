"""A small study: does BIMM help on a few real clips?"""
