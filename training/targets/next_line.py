"""The line of Python that uses a model that was trained."""

from __future__ import annotations

from pathlib import Path

from ..config import ForcesMode
from .fit import FittedTarget


def next_line(best: Path, target: FittedTarget | None, forces: ForcesMode) -> str:
    """The line to copy, for a model of energies with the ``forces`` that were trained, or of ``target``."""
    if target is None:
        return f'atoms.calc = JMPCalculator("{best}"' + (', forces="direct")' if forces == "direct" else ")")
    function = {"class": "predict_classes", "vector": "predict_vectors"}.get(
        target.task.kind or "", "predict"
    )
    return f'jmp_calc.{function}(structures, model="{best}")'
