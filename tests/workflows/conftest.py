"""Calculators that are fast and depend on the structure alone."""

from __future__ import annotations

import pytest
from ase import Atoms
from ase.build import bulk
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
