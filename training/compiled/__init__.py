"""A training step as compiled code: energies, forces, stress, loss and gradients of all weights in one
program."""
