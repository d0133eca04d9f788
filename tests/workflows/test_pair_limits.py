"""Runs stop where atoms come nearer to each other than the potential was trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes

from jmp_calc.calculator import JMPCalculator
from jmp_calc.errors import GuardError
from jmp_calc.workflows.md import md
from jmp_calc.workflows.pair_limits import NEAREST_SHARE, PairLimits
from jmp_calc.workflows.relax import relax
from tests.small_network import CHON, ModelFactory


class Hole(Calculator):
    """A pair with a minimum at ``bottom`` (Å), trained from 2 Å on."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, bottom: float, pairs: dict[tuple[int, int], float] | None) -> None:
        super().__init__()
        self.bottom, self.shortest_distances = bottom, pairs

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        vector = atoms.positions[1] - atoms.positions[0]
        length = np.linalg.norm(vector)
        pull = (length - self.bottom) * vector / length
        self.results = {
            "energy": 0.5 * (length - self.bottom) ** 2,
            "forces": np.array([pull, -pull]),
        }


def pair(length: float, calculator: Calculator | None = None) -> Atoms:
    atoms = Atoms("Al2", [[0, 0, 0], [0, 0, length]])
    atoms.calc = calculator
    return atoms


TRAINED = {(13, 13): 2.0}


def test_a_relaxation_into_a_hole_ends_with_the_last_structure_outside(tmp_path: Path) -> None:
    with pytest.raises(GuardError, match=r"Al.*begin at 2.00 Å") as caught:
        relax(pair(2.4, Hole(1.2, TRAINED)), out=tmp_path)
    assert caught.value.exit_code == 7
    kept = ase.io.read(tmp_path / "opt.extxyz")
    assert kept.get_distance(0, 1) >= NEAREST_SHARE * 2.0


def test_a_relaxation_out_of_a_hole_goes_on() -> None:
    assert relax(pair(1.2, Hole(2.1, TRAINED))).converged


def test_a_relaxation_that_stays_in_a_hole_is_an_error() -> None:
    with pytest.raises(GuardError, match="1.21 Å apart"):
        relax(pair(1.21, Hole(1.2, TRAINED)))


@pytest.mark.parametrize("pairs", [None, {(13, 13): 1.3}])
def test_what_is_known_or_has_no_table_may_be_close(pairs: dict[tuple[int, int], float] | None) -> None:
    assert relax(pair(1.25, Hole(1.2, pairs))).converged
    assert relax(pair(1.25, Hole(1.2, TRAINED)), guard=False).converged


def test_dynamics_into_a_hole_stop() -> None:
    with pytest.raises(GuardError, match=r"Guard: atom 0 \(Al\) and atom 1 \(Al\) are 1"):
        md(pair(1.7, Hole(1.2, TRAINED)), ensemble="nve", steps=500, timestep_fs=1.0, temperature_k=300.0)


def test_the_worst_pair_relative_to_its_limit_is_named_images_included() -> None:
    crystal = bulk("NaCl", "rocksalt", a=3.0)
    crystal.calc = Hole(1.0, {(11, 17): 2.5, (11, 11): 2.6, (17, 17): 2.6})
    close = PairLimits().broken(crystal)
    assert close is not None
    assert close.distance == pytest.approx(1.5)
    assert close.shortest == 2.5
    crystal.set_cell(crystal.cell * 1.3, scale_atoms=True)
    assert PairLimits().broken(crystal) is None


def test_pairs_without_data_are_held_to_their_covalent_radii() -> None:
    atoms = Atoms("AlCu", [[0, 0, 0], [0, 0, 1.8]], calculator=Hole(1.0, TRAINED))
    close = PairLimits().broken(atoms)
    assert close is not None
    assert close.shortest is None
    assert "no such pair" in close.text(atoms)


def test_pairs_that_were_never_bonded_may_bond() -> None:
    """H...O in a molecule without O-H: trained from 2.6 Å on, but 1.3 Å is no collapse."""
    atoms = Atoms("HO", [[0, 0, 0], [0, 0, 1.3]], calculator=Hole(1.0, {(1, 8): 2.6}))
    assert PairLimits().broken(atoms) is None


def test_a_model_says_what_it_was_trained_on(make_model: ModelFactory) -> None:
    known = JMPCalculator(make_model(heads=(replace(CHON, pairs={"H-O": 0.9, "C-C": 1.25}),)), device="cpu")
    assert known.shortest_distances == {(1, 8): 0.9, (6, 6): 1.25}
    assert JMPCalculator(make_model(heads=(CHON,)), device="cpu").shortest_distances is None
