"""The physics battery: what every potential must obey, measured on one calculator."""
