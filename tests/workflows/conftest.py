"""Calculators that are fast and depend on the structure alone."""

from __future__ import annotations

import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential
from ase.neighborlist import neighbor_list
from matscipy.neighbours import neighbour_list


def morse(*, periodic: bool = True) -> MorsePotential:
    """Copper-like pair potential, smooth cutoff at 5 Å, with stress; matscipy's fast list needs a cell."""
    return MorsePotential(
        neighbor_list=neighbour_list if periodic else neighbor_list,
        epsilon=0.34,
        r0=2.6,
        rho0=3.8,
        rcut1=1.6,
        rcut2=1.95,
    )


class Counted(EMT):
    """EMT that counts the structures that it computes, and is killed at the one with number ``fails_at``."""

    def __init__(self, fails_at: int | None = None) -> None:
        super().__init__()
        self.calls, self.fails_at = 0, fails_at

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)) -> None:
        self.calls += 1
        if self.calls == self.fails_at:
            raise KeyboardInterrupt
        super().calculate(atoms, properties, system_changes)


@pytest.fixture
def copper() -> Atoms:
    return crystal()


def crystal() -> Atoms:
    """Eight-atom copper-like crystal at its Morse equilibrium, to within 1 %."""
    atoms = bulk("Cu", "fcc", a=3.31, cubic=True) * (2, 1, 1)
    atoms.calc = morse()
    return atoms


@pytest.fixture
def cluster() -> Atoms:
    """Tetrahedral four-atom molecule without cell."""
    d = 2.6 / 8**0.5
    atoms = Atoms("Cu4", [[d, d, d], [d, -d, -d], [-d, d, -d], [-d, -d, d]])
    atoms.calc = morse(periodic=False)
    return atoms
