"""Molecules are recognised by their bonds, whatever the geometry."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.collections import g2

from jmp_calc.bonding import bonds_of, graph_name, molecule_names, molecules


def names(atoms) -> list[str]:  # type: ignore[no-untyped-def]
    return molecule_names(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)


def test_a_rattled_turned_and_reordered_molecule_keeps_its_name() -> None:
    rng = np.random.default_rng(0)
    for kind in ("CH3CH2OH", "C6H6", "CH3CONH2", "bicyclobutane", "SiH3", "CH3SCH3"):
        if kind not in g2.names:
            continue
        atoms = molecule(kind)
        expected = names(atoms)
        assert len(expected) == 1, kind
        atoms.rattle(0.05, rng=rng)
        atoms.rotate(70.0, (1, 2, 3))
        assert names(atoms[rng.permutation(len(atoms))]) == expected, kind


def test_isomers_have_other_names() -> None:
    found = [names(molecule(kind))[0] for kind in ("CH3CH2OH", "CH3OCH3", "isobutane", "trans-butane")]
    assert len(set(found)) == 4


def test_the_bonds_of_another_program_give_the_same_name() -> None:
    water = molecule("H2O")
    assert graph_name([1, 8, 1], [(0, 1), (2, 1)]) == names(water)[0]


def test_every_molecule_of_a_cluster_has_its_name_also_across_the_faces_of_a_cell() -> None:
    pair = molecule("H2O")
    pair.extend(molecule("CH3OH"))
    pair.positions[3:] += 6.0
    expected = sorted([*names(molecule("H2O")), *names(molecule("CH3OH"))])
    assert names(pair) == expected
    pair.center(vacuum=3.0)
    pair.pbc = True
    pair.positions += 5.3
    pair.wrap()
    assert names(pair) == expected


def test_atoms_and_dimers_have_no_name() -> None:
    assert names(molecule("H2")) == [] and names(molecule("O")) == []


def test_atoms_of_a_crystal_hang_together() -> None:
    atoms = bulk("Si", cubic=True)
    bonds = bonds_of(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    assert len(molecules(len(atoms), bonds)) == 1


@pytest.mark.parametrize("bonds", [[(0, 1), (1, 2)], [(2, 1), (1, 0)]])
def test_the_order_of_bonds_does_not_matter(bonds: list[tuple[int, int]]) -> None:
    assert graph_name([6, 8, 6], bonds) == graph_name([6, 8, 6], [(1, 0), (2, 1)])
