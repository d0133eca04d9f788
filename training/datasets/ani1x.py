"""ANI-1x (``datasets.md`` section 3): wB97x/6-31G(d) conformers by formula; hartree and, for forces,
hartree/Å."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jmp_calc.errors import BadInputError
from jmp_calc.units import HARTREE

from ..data.frame import Frame
from .base import SEED, choose, find_file, molecule_frame
from .formats.hdf5 import GroupedFrames, Keys, group_size, inner, opened

KEYS = Keys("atomic_numbers", "coordinates", "wb97x_dz.energy", "wb97x_dz.forces")
"""Names of data sets, not paths: their dots mean nothing."""
PARTS = ("train", "val", "test")
HELD_OUT = 495_600
"""Conformers that each held-out part has at least."""
MIN_ATOMS = 4


class Ani1xFrames(GroupedFrames):
    """Conformers of some formulas."""

    def __init__(self, path: Path, formulas: Sequence[str]) -> None:
        """``formulas``: groups of the file, in the order of the frames."""
        super().__init__(path, formulas, KEYS)

    def __getitem__(self, index: int) -> Frame:
        number, conformer, (z, x, energies, forces) = self.row(index)
        formula = self.groups[number]
        return molecule_frame(
            z,
            x[conformer],
            f"{self.path.name}/{formula}",
            conformer,
            "ani1x",
            energy=float(energies[conformer]) * HARTREE,
            # Per Å: no bohr in between, unlike most sets in hartree.
            forces=forces[conformer].astype(np.float64) * HARTREE,
            identifier=f"{formula}/{conformer}",
        )


def open_ani1x(folder: Path, member: str, *, held_out: int = HELD_OUT, seed: int = SEED) -> Ani1xFrames:
    """The ``train``, ``val`` or ``test`` conformers of ``ani1x-release.h5``; no formula is in two parts.

    Formulas of fewer than four atoms are left out before splitting. Conformers with NaN labels stay in the
    numbering (identifiers count all conformers of a formula) and are for :class:`.checks.Screen` to leave out
    and count.
    """
    part = choose(member, PARTS, "part of ANI-1x")
    path = find_file(folder, ["ani1x-release.h5"], "ANI-1x")
    counts: dict[str, int] = {}
    with opened(path) as file:
        for formula in sorted(file):  # alphabetical, stated here because the split depends on it
            n_frames, n_atoms = group_size(inner(file, formula, path), KEYS, path)
            if n_atoms >= MIN_ATOMS:
                counts[formula] = n_frames
    return Ani1xFrames(path, split_formulas(counts, held_out, seed)[part])


def split_formulas(counts: dict[str, int], held_out: int, seed: int = SEED) -> dict[str, list[str]]:
    """Formulas by part: in random order, at least ``held_out`` conformers for val, then for test, the rest
    for training.

    The official code shuffles without a seed, so its parts cannot be had; the sizes and the rule are the
    same. BadInputError if nothing is left to train on.
    """
    order = sorted(counts)
    random.Random(seed).shuffle(order)
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for part in ("val", "test"):
        while order and sum(counts[formula] for formula in parts[part]) < held_out:
            parts[part].append(order.pop(0))
    parts["train"] = order
    if not order:
        raise BadInputError(
            f"{sum(counts.values())} conformers leave nothing to train on beside two times {held_out}.",
            hint="the file is not complete; fetch it again",
        )
    return {part: sorted(formulas) for part, formulas in parts.items()}
