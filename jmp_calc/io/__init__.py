"""Reading structures, writing summaries and plots."""
