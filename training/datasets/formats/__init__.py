"""File formats that public data sets come in."""
