"""Labelled frames as batches of network input: tasks, order, shuffling, replay."""
