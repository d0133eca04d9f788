"""This computer: device, memory, speed, signals."""
