"""Several processes of one run: launch, gradients, shards, shutdown."""
