"""Campaigns over thousands of structures: planned, given to workers, kept in a journal, written as tables."""
