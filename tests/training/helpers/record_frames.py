"""Frames without a source, and record sets of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from jmp_calc.training.data.frame import Frame
from jmp_calc.training.records.record_set import RecordSet
from jmp_calc.training.records.writer import RecordWriter


def made(folder: Path, frames: Iterable[Frame]) -> RecordSet:
    with RecordWriter(folder) as writer:
        for frame in frames:
            writer.add(frame)
        return writer.finish()


def molecule(numbers: list[int], energy: float | None, index: int = 0, **changes: object) -> Frame:
    rng = np.random.default_rng(index)
    plain = Frame(
        numbers=np.array(numbers),
        positions=rng.normal(size=(len(numbers), 3)),
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, dtype=bool),
        energy=energy,
        forces=rng.normal(size=(len(numbers), 3)),
        stress=None,
        group="default",
        source="file.xyz",
        index=index,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]
