"""Sections of the model card that are computed with a model as it is shipped (benchmarks/model_card.py)."""
