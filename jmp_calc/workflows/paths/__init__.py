"""Paths between two structures: nudged elastic bands, barriers and saddles."""
