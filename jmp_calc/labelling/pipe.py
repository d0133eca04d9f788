"""What goes through the pipes between a labelling run and its workers, and into its part files.

A message is a JSON header and plain arrays: it means the same in every Python and numpy, and nothing in it
is executed. This file is read by the interpreter of the teacher too.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from .labels import CHARGE, UNPAIRED, Labels, Refusal

if TYPE_CHECKING:
    from ase import Atoms

Arrays = dict[str, np.ndarray]
Reason: TypeAlias = "list[str] | None"
_PER_ATOM = ("initial_magmoms", "initial_charges")
"""Arrays of the input that some calculators start from."""
_LENGTH = struct.Struct("<Q")
_LARGEST = 1 << 34


class Readable(Protocol):
    """Where bytes come from."""

    def read(self, count: int, /) -> bytes:
        """Exactly ``count`` bytes; EOFError where there are fewer."""
        ...


@dataclass(frozen=True)
class Exactly:
    """A file whose ``read`` gives all the bytes asked for."""

    file: IO[bytes]

    def read(self, count: int, /) -> bytes:
        """``count`` bytes; EOFError at the end of the file."""
        data = self.file.read(count)
        if len(data) < count:
            raise EOFError
        return data


def packed(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> bytes:
    """A message as bytes."""
    sound = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    layout = [[name, array.dtype.str, list(array.shape)] for name, array in sound.items()]
    text = json.dumps({**header, "arrays": layout}).encode()
    return b"".join([_LENGTH.pack(len(text)), text, *(array.tobytes() for array in sound.values())])


def received(source: Readable) -> tuple[dict[str, Any], Arrays]:
    """Header and arrays of the next message; EOFError at the end, ValueError for what is no message."""
    (length,) = _LENGTH.unpack(source.read(_LENGTH.size))
    if length > _LARGEST:
        raise ValueError("no message")
    header = json.loads(source.read(length))
    arrays = {}
    for name, dtype, shape in header.pop("arrays"):
        kind = np.dtype(dtype)
        data = source.read(int(np.prod(shape, dtype=np.int64)) * kind.itemsize)
        arrays[name] = np.frombuffer(data, kind).reshape(shape)
    return header, arrays


def frames_to_arrays(frames: Sequence[Atoms]) -> Arrays:
    """F structures with A atoms in all: sizes (F,), numbers (A,), positions (A, 3), cells (F, 3, 3), pbc
    (F, 3), total charge and unpaired electrons (F,), -1 where nothing is said of the spin."""
    arrays = {
        "sizes": np.array([len(atoms) for atoms in frames], dtype=np.int64),
        "numbers": np.concatenate([atoms.numbers for atoms in frames]).astype(np.int64),
        "positions": np.concatenate([atoms.positions for atoms in frames]).astype(float),
        "cells": np.stack([atoms.cell.array for atoms in frames]).astype(float),
        "pbc": np.stack([atoms.pbc for atoms in frames]).astype(bool),
        CHARGE: np.array([atoms.info.get(CHARGE, 0) for atoms in frames], dtype=np.int64),
        UNPAIRED: np.array([atoms.info.get(UNPAIRED, -1) for atoms in frames], dtype=np.int64),
    }
    for name in _PER_ATOM:
        if any(name in atoms.arrays for atoms in frames):
            empty = [atoms.arrays.get(name, np.zeros(len(atoms))) for atoms in frames]
            if len({array.ndim for array in empty}) == 1:
                arrays[name] = np.concatenate(empty).astype(float)
    return arrays


def arrays_to_frames(arrays: Mapping[str, np.ndarray]) -> list[Atoms]:
    """The reverse of ``frames_to_arrays``: structures without constraints and calculators."""
    from ase import Atoms

    ends = np.cumsum(arrays["sizes"])
    frames = []
    for number, (end, size) in enumerate(zip(ends, arrays["sizes"])):
        own = slice(end - size, end)
        atoms = Atoms(
            arrays["numbers"][own],
            arrays["positions"][own],
            cell=arrays["cells"][number],
            pbc=arrays["pbc"][number],
        )
        atoms.info[CHARGE] = int(arrays[CHARGE][number])
        if arrays[UNPAIRED][number] >= 0:
            atoms.info[UNPAIRED] = int(arrays[UNPAIRED][number])
        for name in _PER_ATOM:
            if name in arrays:
                atoms.set_array(name, arrays[name][own])
        frames.append(atoms)
    return frames


def answers_to_arrays(
    answers: Sequence[Labels | Refusal], sizes: Sequence[int]
) -> tuple[list[Reason], Arrays]:
    """Reason and kind of each refusal (None: there are labels), and of F structures with A atoms in all:
    sizes (F,), energy (F,), forces (A, 3), stress (F, 6), energy_spread and forces_spread (F,), NaN where
    there is none."""
    nothing = np.full(6, np.nan)
    reasons = [[answer.reason, answer.kind] if isinstance(answer, Refusal) else None for answer in answers]
    known = [
        Labels(np.nan, np.full((size, 3), np.nan)) if isinstance(answer, Refusal) else answer
        for answer, size in zip(answers, sizes)
    ]
    return reasons, {
        "sizes": np.array(sizes, dtype=np.int64),
        "energy": np.array([labels.energy for labels in known], dtype=float),
        "forces": np.concatenate([labels.forces for labels in known]).astype(float),
        "stress": np.stack([nothing if labels.stress is None else labels.stress for labels in known]),
        "energy_spread": np.array([labels.energy_spread for labels in known], dtype=float),
        "forces_spread": np.array([labels.forces_spread for labels in known], dtype=float),
    }


def arrays_to_answers(reasons: Sequence[Reason], arrays: Mapping[str, np.ndarray]) -> list[Labels | Refusal]:
    """The reverse of ``answers_to_arrays``."""
    ends = np.cumsum(arrays["sizes"])
    answers: list[Labels | Refusal] = []
    for number, reason in enumerate(reasons):
        if reason is not None:
            answers.append(Refusal(*reason))
            continue
        own = slice(ends[number] - arrays["sizes"][number], ends[number])
        stress, *spreads = (arrays[name][number] for name in ("stress", "energy_spread", "forces_spread"))
        energy_spread, forces_spread = (None if np.isnan(spread) else float(spread) for spread in spreads)
        answers.append(
            Labels(
                float(arrays["energy"][number]),
                arrays["forces"][own],
                None if np.isnan(stress).any() else stress,
                energy_spread,
                forces_spread,
            )
        )
    return answers
