"""Model files, names and downloads."""
