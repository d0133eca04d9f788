"""Relaxation, dynamics and phonons with any ASE calculator."""
