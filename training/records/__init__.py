"""Labelled sets larger than memory: files, statistics, preprocessing."""
