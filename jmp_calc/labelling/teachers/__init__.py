"""The teachers by name; each file imports its package when it is used, in a worker's interpreter."""
