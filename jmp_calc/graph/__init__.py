"""Graphs: neighbours, cutoffs and indices; numpy and matscipy only."""
