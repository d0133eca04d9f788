"""Which class was predicted for which: the table of a classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .metrics import Predictions


def confusion(predictions: Predictions, names: Sequence[str]) -> np.ndarray:
    """(K, K) number of structures by true (row) and predicted class."""
    known = np.isfinite(predictions.chosen) & np.isfinite(predictions.chosen_true)
    table = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(table, (predictions.chosen_true[known].astype(int), predictions.chosen[known].astype(int)), 1)
    return table


def confusion_dict(table: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """The table (n_classes, n_classes) by true and then predicted class."""
    return {name: dict(zip(names, row.tolist())) for name, row in zip(names, table)}


def confusion_text(table: np.ndarray, names: Sequence[str]) -> str:
    """The table (n_classes, n_classes) for people: a line per true class, a column per predicted one, and the
    share that is right."""
    width = max(*(len(name) for name in names), len(str(table.max())), 5)
    corner = "true, predicted"
    first = max(width, len(corner))
    lines = [f"{corner:{first}s}  " + "  ".join(f"{name:>{width}s}" for name in names) + "  right"]
    for name, row, right in zip(names, table, np.diag(table)):
        share = f"{100 * right / row.sum():4.0f}%" if row.sum() else "     "
        lines.append(f"{name:{first}s}  " + "  ".join(f"{n:{width}d}" for n in row) + f"  {share}")
    return "\n".join(lines)
