"""Stop a dynamics run that has gone wrong, before it fills the disk with nonsense."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..checks import closest_pair
from ..errors import GuardError
from .common import energy_std
from .pair_limits import PairLimits

if TYPE_CHECKING:
    from ase import Atoms

TEMPERATURE_FACTOR = 10.0
LOWEST_REFERENCE_K = 50.0
LARGEST_STEP_A = 0.5
"""Å per step: a hydrogen atom at 5000 K moves 0.2 Å in 2 fs."""
CLOSEST_PAIR_A = 0.4
"""Å: shorter than any bond (H2: 0.74 Å)."""
LOST_ATOM_A = 10.0
"""Å beyond the widest gap at the start: an atom that far from all others has left the molecule."""
SLOW_CHECKS_EVERY = 10


@dataclass(frozen=True)
class Guard:
    """Limits for one run."""

    reference_temperature_k: float
    widest_gap_a: float | None
    """Largest nearest-neighbour distance at the start; None for periodic structures."""
    limits: PairLimits = field(default_factory=PairLimits)
    """Least distances, where the calculator says what it was trained on."""
    max_uncertainty_mev: float | None = None
    """meV per atom that the energy may be off; None: not looked at."""

    @classmethod
    def of(
        cls, atoms: Atoms, reference_temperature_k: float, max_uncertainty_mev: float | None = None
    ) -> Guard:
        """Limits that fit the structure that a run was given, also where it goes on later."""
        gap = None if atoms.pbc.any() or len(atoms) < 2 else float(_nearest(atoms.positions).max())
        reference = max(reference_temperature_k, LOWEST_REFERENCE_K)
        return cls(reference, gap, max_uncertainty_mev=max_uncertainty_mev)

    def check(self, atoms: Atoms, before: np.ndarray, temperature_k: float, step: int) -> None:
        """Cheap checks of every step; ``before`` are the positions one step ago, shape (N,3) Å."""
        energy = atoms.get_potential_energy()
        for name, value in (
            ("energy", energy),
            ("positions", atoms.positions),
            ("momenta", atoms.get_momenta()),
        ):
            if not np.isfinite(value).all():
                raise _tripped(f"the {name} became NaN or infinite", step)
        limit = TEMPERATURE_FACTOR * self.reference_temperature_k
        if temperature_k > limit:
            raise _tripped(f"the temperature ran away to {temperature_k:.0f} K (limit {limit:.0f} K)", step)
        self._check_uncertainty(atoms, step)
        moved = np.linalg.norm(atoms.positions - before, axis=1)
        if moved.max() > LARGEST_STEP_A:
            worst = int(moved.argmax())
            raise _tripped(
                f"atom {worst} ({atoms.symbols[worst]}) moved {moved.max():.2f} Å in one step", step
            )

    def _check_uncertainty(self, atoms: Atoms, step: int) -> None:
        if self.max_uncertainty_mev is None:
            return
        found = 1000 * (energy_std(atoms) or 0.0) / len(atoms)
        if not found <= self.max_uncertainty_mev:
            raise GuardError(
                f"Guard: the energy may be off by {found:.3g} meV/atom "
                f"(limit {self.max_uncertainty_mev:g} meV/atom).",
                where=f"step {step}",
                hint="label frames of this run and train on them (jmp-calc select), or allow more",
            )

    def check_geometry(self, atoms: Atoms, step: int) -> None:
        """Slower checks, every SLOW_CHECKS_EVERY steps: atoms on top of each other, atoms that left."""
        pair = closest_pair(atoms.positions, atoms.cell.array, atoms.pbc, below=CLOSEST_PAIR_A)
        if pair is not None:
            raise _tripped(f"atoms {pair[0]} and {pair[1]} are {pair[2]:.2f} Å apart", step)
        close = self.limits.broken(atoms)
        if close is not None:
            raise _tripped(close.text(atoms), step)
        if self.widest_gap_a is None:
            return
        gaps = _nearest(atoms.positions)
        if gaps.max() > self.widest_gap_a + LOST_ATOM_A:
            worst = int(gaps.argmax())
            name = f"atom {worst} ({atoms.symbols[worst]})"
            raise _tripped(f"{name} has flown off: its nearest neighbour is {gaps.max():.1f} Å away", step)


def _tripped(fact: str, step: int) -> GuardError:
    return GuardError(
        f"Guard: {fact}.",
        where=f"step {step}",
        hint="look at last-good.extxyz; try a shorter time step or a relaxed start; --no-guard switches "
        "this off",
    )


def _nearest(positions: np.ndarray) -> np.ndarray:
    """Distance of every atom to its nearest neighbour, shape (N,), Å; no periodicity."""
    from scipy.spatial import cKDTree

    distances, _ = cKDTree(positions).query(positions, k=2)
    return np.asarray(distances[:, 1])
