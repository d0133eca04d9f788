"""What trajectories say: structure, motion, averages with error bars. Knows nothing of calculators."""
