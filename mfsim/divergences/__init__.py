"""Divergences: what the distribution of the neurons did; arrays in, arrays out."""
