"""Training runs without pictures."""

from tests.training.helpers.pictures import undrawn  # noqa: F401  a fixture of every test here
