"""The network: plain torch, no files and no ASE."""
