"""Graphs of a structure: neighbour search, the two policies, and batches of topologies."""
