"""How good a model is: errors, tables, curves, predictions."""
