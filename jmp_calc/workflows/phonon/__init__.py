"""Phonons with phonopy: displacements, bands, thermal properties and what follows from them."""
