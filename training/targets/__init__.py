"""Scalars, classes and vectors as labels instead of energies."""
