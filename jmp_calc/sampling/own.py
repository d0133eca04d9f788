"""One's own structures: rattled, strained, with vacancies, at other volumes and, with a calculator, hot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from numpy.random import Generator

from ..model.elements import ATOMIC_MASSES
from ..unread import state_keys
from .compositions import reduced
from .distortions import closest_ratio, random_strain, rattled, scaled, strained, with_vacancies
from .draws import generator, kind_at, log_uniform, position
from .geometry import CLOSEST, Floats
from .heat import langevin
from .refusals import Refused, first_made

PERIODIC = frozenset({"strained", "vacancy"})
"""Kinds that need a periodic direction; "volume" needs three."""
ELECTRONS = frozenset({"initial_charges", "initial_magmoms"})
"""Arrays of a structure that its samples keep: what teachers begin with."""


class StructureSource:
    """Draws distorted copies of structures, one after the other."""

    def __init__(
        self,
        structures: Sequence[Atoms],
        shares: Mapping[str, float],
        seed: int,
        calculator: Any,
        temperatures: tuple[float, float],
    ) -> None:
        """``calculator``: any of ASE, for hot ones between two ``temperatures`` (K); None: there are none."""
        self.structures, self.shares, self.seed = structures, shares, seed
        self.calculator, self.temperatures = calculator, temperatures

    def draw(self, index: int, refused: Counter[str]) -> Atoms | None:
        """Sample ``index``; None where no attempt gave one. ``refused`` counts the reasons of attempts."""
        rng, parent = generator(self.seed, index), self.structures[index % len(self.structures)]
        shares = {kind: share for kind, share in self.shares.items() if _applies(kind, parent)}
        if not shares:
            refused["no kind applies"] += 1
            return None
        # Each structure goes through the kinds by itself.
        kind, _ = kind_at(position(self.seed, index // len(self.structures)), shares)
        return first_made(lambda: self._made(rng, kind, parent), refused)

    def _made(self, rng: Generator, kind: str, parent: Atoms) -> Atoms:
        plain = Atoms(parent.numbers, parent.positions, cell=parent.cell.array, pbc=parent.pbc)
        for name in ELECTRONS.intersection(parent.arrays):
            plain.set_array(name, parent.arrays[name])
        made = self._distorted(rng, kind, plain)
        least = 0.5 if kind == "volume" else CLOSEST
        if closest_ratio(made) < min(least, 0.95 * closest_ratio(plain)):
            raise Refused("overlapping")
        made.info = {"sample_kind": kind, "composition": reduced(parent), **kept_info(parent)}
        return made

    def _distorted(self, rng: Generator, kind: str, atoms: Atoms) -> Atoms:
        if kind == "thermal":
            return self._heated(rng, atoms)
        if kind == "strained":
            made = strained(atoms, _within(atoms, random_strain(rng, 0.005, 0.06)))
            return rattled(rng, made, 0.005, 0.05) if rng.random() < 0.5 else made
        if kind == "volume":
            return scaled(atoms, rng.uniform(0.75, 1.4))
        if kind == "vacancy":
            return rattled(rng, with_vacancies(rng, atoms), 0.005, 0.1)
        return rattled(rng, atoms, 0.01, 0.2 if atoms.pbc.any() else 0.14)

    def _heated(self, rng: Generator, atoms: Atoms) -> Atoms:
        hot = atoms.copy()
        hot.calc = self.calculator

        def forces(positions: Floats) -> Floats:
            hot.positions = positions
            found = np.asarray(hot.get_forces(), dtype=np.float64)
            if not np.isfinite(found).all() or np.abs(found).max() > 200.0:
                raise Refused("dynamics ran away")
            return found

        langevin(
            rng,
            atoms.positions.copy(),
            np.array([ATOMIC_MASSES[z] for z in atoms.numbers]),
            forces,
            temperature=log_uniform(rng, *self.temperatures),
            steps=int(rng.integers(50, 200)),
            timestep_fs=0.5 if 1 in atoms.numbers else 1.0,
        )
        hot.calc = None
        return hot


def kept_info(parent: Atoms) -> dict[Any, Any]:
    """What the samples of a structure have of its ``info``: where they come from, and charge and spin,
    without which their labels would be those of other electrons."""
    keys = (*("origin", "graph", "prototype"), *state_keys(parent.info))
    return {key: parent.info[key] for key in keys if key in parent.info}


def _applies(kind: str, atoms: Atoms) -> bool:
    least = {"vacancy": 4, "rattled": 2, "thermal": 2}
    if len(atoms) < least.get(kind, 1):
        return False
    if kind == "volume":
        return bool(atoms.pbc.all())
    if kind == "vacancy" and any(kinds != {"charge"} for kinds in state_keys(atoms.info).values()):
        return False  # nobody knows the spin of what is left
    return bool(atoms.pbc.any()) or kind not in PERIODIC


def _within(atoms: Atoms, deformation: Floats) -> Floats:
    """The part of a deformation (3, 3) that leaves directions without periodicity alone."""
    if atoms.pbc.all():
        return deformation
    spanned = np.linalg.svd(atoms.cell.array[atoms.pbc])[2][: int(atoms.pbc.sum())]
    into = spanned.T @ spanned
    return into @ deformation @ into
