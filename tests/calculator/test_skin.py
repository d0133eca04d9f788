"""Dynamics with a kept neighbour list: the same trajectory, bit for bit."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.md.nptberendsen import NPTBerendsen
from ase.md.verlet import VelocityVerlet

from jmp_calc import JMPCalculator
from jmp_calc.graph.skin import ReusedNeighbours


def trajectory(calc: JMPCalculator, ensemble: str) -> np.ndarray:
    """Positions and cell after every step of hot sodium chloride."""
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.1, seed=0)
    atoms.calc = calc
    rng = np.random.default_rng(0)
    atoms.set_momenta(rng.normal(0.0, np.sqrt(0.1 * atoms.get_masses()))[:, None] * rng.normal(size=(8, 3)))
    if ensemble == "nve":
        dynamics = VelocityVerlet(atoms, 2.0 * units.fs)
    else:
        dynamics = NPTBerendsen(
            atoms,
            2.0 * units.fs,
            temperature_K=800.0,
            pressure_au=0.0,
            taut=50.0 * units.fs,
            taup=100.0 * units.fs,
            compressibility_au=1e-2 / units.GPa,
        )
    frames: list[np.ndarray] = []
    dynamics.attach(lambda: frames.append(np.concatenate([atoms.positions, atoms.cell.array])))
    dynamics.run(60)
    return np.array(frames)


@pytest.mark.capability("B8")
@pytest.mark.parametrize("ensemble", ["nve", pytest.param("npt", marks=pytest.mark.slow)])
def test_trajectories_with_and_without_a_kept_list_are_bit_equal(calc: JMPCalculator, ensemble: str) -> None:
    kept, searched = calc, copy.copy(calc)
    searched._search = ReusedNeighbours(0.0)
    assert np.array_equal(trajectory(kept, ensemble), trajectory(searched, ensemble))
    assert searched._search.searches == searched._search.calls
    assert kept._search.searches < kept._search.calls / 3


def test_the_list_belongs_to_one_calculator(calc: JMPCalculator, ethanol: Atoms) -> None:
    twin = copy.copy(calc)
    assert twin._search is not calc._search
