"""Shares of the atoms in the stress: by the derivatives of the energy by pair vectors, halves to both
ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from jmp_calc.graph.batch import Batch, Edges, collate
from jmp_calc.graph.build import build_graph
from jmp_calc.model.potential import Potential
from tests.model.test_short_range import NEW, potential
from tests.physics.models import FIXED, Model, scratch
from tests.physics.structures import DISORDERED, PERFECT

CRYSTALS = ("triclinic", "slab", "silicon")


def shares(model: Model, structures: list[Atoms]) -> list[NDArray]:
    """Stresses of the atoms of each structure (N, 3, 3), eV/Å³."""
    found = model.potential(model.batch(structures), heads=model.head, stress=True, stresses=True)
    assert found.stresses is not None
    each = np.split(found.stresses.numpy(), np.cumsum([len(atoms) for atoms in structures])[:-1])
    assert found.stress is not None
    for tensors, total in zip(each, found.stress.numpy(), strict=True):
        np.testing.assert_allclose(tensors.sum(0), total, rtol=0, atol=1e-10)
        np.testing.assert_allclose(tensors, tensors.swapaxes(1, 2), rtol=0, atol=1e-14)
    return each


def stretched(edges: Edges, batch: Batch, atom: int, strain: torch.Tensor) -> Edges:
    """The edges with the strain (3, 3) on those that end at an atom, half of it for each such end."""
    target, source = (batch.positions[ends] for ends in (edges.target, edges.source))
    vectors = target - source - edges.shift @ batch.cell[0]
    ends = (edges.target == atom).double() + (edges.source == atom).double()
    change = 0.5 * ends.unsqueeze(1) * (vectors @ strain)
    return replace(edges, shift=edges.shift - change @ torch.linalg.inv(batch.cell[0]))


def energy_with_stretched(model: Model, batch: Batch, atom: int, strain: NDArray) -> float:
    """Energy in eV where nothing but the edges of one atom feel a strain (3, 3)."""
    main, a2a, a2ee2a, qint = (
        stretched(edges, batch, atom, torch.from_numpy(strain))
        for edges in (batch.main, batch.a2a, batch.a2ee2a, batch.qint)
    )
    a2ee2a = main if batch.a2ee2a is batch.main else a2ee2a
    moved = replace(batch, main=main, a2a=a2a, a2ee2a=a2ee2a, qint=qint)
    with torch.no_grad():
        return float(model.potential(moved, heads=model.head, forces="none").energy)


@pytest.mark.capability("A5")
@pytest.mark.parametrize("name", CRYSTALS)
def test_a_share_is_the_slope_of_the_energy_by_a_strain_of_the_edges_of_an_atom(
    own_model: Model, name: str
) -> None:
    atoms = DISORDERED[name]()
    batch, (found,) = own_model.batch([atoms]), shares(own_model, [atoms])
    rng, step = np.random.default_rng(4), 1e-5
    for atom in range(len(atoms)):
        strain = rng.standard_normal((3, 3))
        strain = step * (strain + strain.T)
        up, down = (energy_with_stretched(own_model, batch, atom, sign * strain) for sign in (1, -1))
        exact = (found[atom] * strain).sum() * atoms.get_volume()
        assert (up - down) / 2 == pytest.approx(exact, rel=1e-6, abs=1e-8 * step * len(atoms))


def test_shares_of_a_batch_are_those_of_single_structures(own_model: Model) -> None:
    structures = [DISORDERED[name]() for name in CRYSTALS]
    for atoms, found in zip(structures, shares(own_model, structures), strict=True):
        np.testing.assert_allclose(found, shares(own_model, [atoms])[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", CRYSTALS)
def test_shares_turn_with_the_structure(own_model: Model, name: str) -> None:
    atoms = DISORDERED[name]()
    matrix = Rotation.from_rotvec([0.4, -1.1, 2.0]).as_matrix()
    turned = Atoms(atoms.numbers, atoms.positions @ matrix, cell=atoms.cell.array @ matrix, pbc=atoms.pbc)
    (found,), (other,) = shares(own_model, [atoms]), shares(own_model, [turned])
    np.testing.assert_allclose(matrix.T @ found @ matrix, other, rtol=0, atol=1e-9)


def test_atoms_that_a_rotation_exchanges_have_turned_shares(own_model: Model) -> None:
    """A molecule without symmetry beside its image under a twofold axis, in one small cell."""
    half = np.diag([-1.0, -1.0, 1.0])
    one = DISORDERED["ethanol"]()
    one.positions += [2.0, 1.0, 2.0] - one.positions.mean(0)
    both = one + Atoms(one.numbers, one.positions @ half)
    both.set_cell([8.0, 7.0, 5.0])
    both.pbc = True
    (found,) = shares(own_model, [both])
    assert np.abs(found).max() > 1e-4
    np.testing.assert_allclose(found[len(one) :], half @ found[: len(one)] @ half, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", PERFECT)
def test_sites_of_a_cubic_crystal_have_isotropic_shares(own_model: Model, name: str) -> None:
    atoms = PERFECT[name]()
    (found,) = shares(own_model, [atoms])
    isotropic = found[:, [0], [0], None] * np.eye(3)
    np.testing.assert_allclose(found, isotropic, rtol=0, atol=1e-9)
    for number in set(atoms.numbers):
        of_element = found[atoms.numbers == number]
        np.testing.assert_allclose(of_element, of_element[:1].repeat(len(of_element), 0), rtol=0, atol=1e-9)


def test_shares_of_far_clusters_are_those_of_each_alone(own_model: Model) -> None:
    one, other = DISORDERED["ethanol"](), molecule("CO2")
    other.translate([0.0, 0.0, 40.0])
    both = one + other
    for atoms in (one, other, both):
        atoms.set_cell([30.0, 30.0, 80.0])
        atoms.pbc = True
    alone = np.concatenate(shares(own_model, [one, other]))
    (together,) = shares(own_model, [both])
    np.testing.assert_allclose(together * both.get_volume(), alone * both.get_volume(), rtol=0, atol=1e-8)


def test_lone_atoms_have_none() -> None:
    lone = Atoms("O", cell=np.eye(3) * 30, pbc=True)
    (found,) = shares(scratch(), [lone])
    assert np.array_equal(found, np.zeros((1, 3, 3)))


def test_of_a_pair_potential_shares_are_half_the_virials_of_the_pairs() -> None:
    """A network of which nothing is left but the repulsion of close atoms."""
    network = potential(replace(NEW, binding={}))
    atoms = bulk("O", "sc", a=1.6).repeat((2, 1, 1))
    atoms.rattle(0.1, seed=5)
    graph = build_graph(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc, FIXED)
    found = network(collate([graph]), heads="new", stress=True, stresses=True).stresses
    first, distances, vectors = neighbor_list("idD", atoms, 1.9)
    expected = np.zeros((len(atoms), 3, 3))
    for atom, distance, vector in zip(first, distances, vectors, strict=True):
        expected[atom] += 0.5 * _slope(network, distance) * np.outer(vector, vector) / distance
    assert np.abs(expected).max() > 1.0
    np.testing.assert_allclose(found.numpy() * atoms.get_volume(), expected, rtol=1e-10, atol=1e-10)


def _slope(network: Potential, distance: float) -> float:
    """Derivative of the energy of two atoms by their distance, eV/Å."""
    pair = Atoms("OO", [[0, 0, 0], [0, 0, distance]])
    graph = build_graph(pair.positions, pair.numbers, pair.cell.array, pair.pbc, FIXED)
    forces = network(collate([graph]), heads="new").forces
    assert forces is not None
    return -float(forces[1, 2])
