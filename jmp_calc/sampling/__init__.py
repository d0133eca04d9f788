"""Structures worth labelling, drawn from a seed: molecules by valence rules, crystals by prototypes, and
distorted copies of one's own.

Sample ``i`` depends on the seed and on ``i`` alone, so that a set can be cut into shards, computed by several
processes and continued after a stop.
"""
