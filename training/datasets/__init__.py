"""Readers of the public data sets that JMP was trained and measured on; each gives ``Frame``s in eV and Å."""
