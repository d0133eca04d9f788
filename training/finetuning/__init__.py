"""What a fine-tuning adds to the common loop: start, data, old heads, report."""
