"""How weights move: optimizer, gradients, schedules, averages, low rank."""
