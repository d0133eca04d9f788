"""Shortest distances of element pairs in labelled structures."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from jmp_calc.training.data.cohesive import cohesive_energies
from jmp_calc.training.data.frame import Frame
from jmp_calc.training.data.pairs import ShortestPairs, shorter, shortest_pairs


def frame(atoms: Atoms) -> Frame:
    return Frame(
        atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, -1.0, None, None, "default", "x.xyz", 0
    )


def test_pairs_of_molecules_and_of_crystals_with_their_images() -> None:
    salt, water = bulk("NaCl", "rocksalt", a=5.64), molecule("H2O")
    pairs = shortest_pairs([frame(salt), frame(water)], 5.0)
    assert pairs["Na-Cl"] == pytest.approx(2.82, abs=1e-4)
    assert pairs["Na-Na"] == pairs["Cl-Cl"] == pytest.approx(5.64 / np.sqrt(2), abs=1e-4)
    assert pairs["H-O"] == pytest.approx(water.get_distance(0, 1), abs=1e-4)
    assert set(pairs) == {"H-H", "H-O", "Na-Na", "Na-Cl", "Cl-Cl"}


def test_no_distance_in_the_data_is_shorter_than_its_entry() -> None:
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(30):
        atoms = bulk("Cu", cubic=True) if rng.random() < 0.5 else molecule("CH3CH2OH")
        atoms.positions += 0.1 * rng.standard_normal(atoms.positions.shape)
        frames.append(atoms)
    pairs = shortest_pairs(map(frame, frames), 5.0)
    for name, elements in (("H-C", "HC"), ("C-C", "CC"), ("Cu-Cu", "CuCu")):
        both = Atoms(elements).get_chemical_symbols()
        found = min(
            atoms.get_distance(i, j, mic=bool(atoms.pbc.any()))
            for atoms in frames
            for i in range(len(atoms))
            for j in range(len(atoms))
            if i != j and [atoms.symbols[i], atoms.symbols[j]] == both
        )
        assert found - 1e-4 <= pairs[name] <= found


def test_pairs_beyond_the_cutoff_are_not_known() -> None:
    far = Atoms("HeNe", [[0, 0, 0], [0, 0, 5.5]])
    assert shortest_pairs([frame(far)], 5.0) == {}
    assert shortest_pairs([frame(Atoms("He"))], 5.0) == {}


def test_parts_can_be_merged_and_tables_joined() -> None:
    near, far = frame(Atoms("CO", [[0, 0, 0], [0, 0, 1.1]])), frame(Atoms("CO", [[0, 0, 0], [0, 0, 1.3]]))
    one, other = ShortestPairs(5.0), ShortestPairs(5.0)
    one.add(far)
    other.add(near)
    one.merge(other)
    assert one.named() == {"C-O": 1.1}
    assert shorter([{"C-O": 1.3, "H-O": 0.9}, {"C-O": 1.2}]) == {"C-O": 1.2, "H-O": 0.9}


def test_every_element_has_a_cohesive_energy() -> None:
    table = cohesive_energies()
    assert set(range(1, 119)) <= set(table)
    assert min(table.values()) > 0
    assert table[74] == 8.90
    assert table[18] < 0.1
