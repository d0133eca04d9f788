"""Structures that cannot be computed are refused by name; odd but sound ones give the right numbers."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms, FixCom
from ase.geometry import minkowski_reduce

from jmp_calc.calculator import JMPCalculator
from jmp_calc.checks import closest_pair
from jmp_calc.errors import BadStructureError, JMPWarning, ModelError, OutOfMemoryError, UsageError
from jmp_calc.graph.batch import collate


def refused(calc: JMPCalculator, atoms: Atoms, match: str) -> None:
    with pytest.raises(BadStructureError, match=match) as caught:
        calc.get_potential_energy(atoms)
    assert caught.value.exit_code == 4


@pytest.mark.capability("A11")
def test_zero_atoms(calc: JMPCalculator) -> None:
    refused(calc, Atoms(), "zero atoms")


@pytest.mark.parametrize("element", ["H", "O", "Cu"])
def test_isolated_atom_without_cell_is_finite_and_without_force(calc: JMPCalculator, element: str) -> None:
    atoms = Atoms(element)
    assert np.isfinite(calc.get_potential_energy(atoms))
    np.testing.assert_array_equal(calc.get_forces(atoms), 0.0)


def test_isolated_atom_has_its_reference_energy(two_heads: Path) -> None:
    calc = JMPCalculator(two_heads, head="organic", device="cpu", dtype="float64")
    assert calc.get_potential_energy(Atoms("C")) == pytest.approx(-1027.0, abs=1e-9)


@pytest.mark.capability("A11")
def test_periodic_with_zero_cell_names_the_axis(calc: JMPCalculator) -> None:
    refused(calc, Atoms("H", pbc=True), "cell vector a is zero")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_partly_periodic_with_zero_vector_names_the_axis(calc: JMPCalculator, axis: int) -> None:
    cell = np.diag([5.0, 5.0, 5.0])
    cell[axis] = 0.0
    pbc = [False] * 3
    pbc[axis] = True
    refused(calc, Atoms("H", cell=cell, pbc=pbc), f"Direction {'abc'[axis]} is periodic")


@pytest.mark.parametrize(
    "cell",
    [[[4, 0, 0], [8, 0, 0], [0, 0, 4]], [[4, 0, 0], [0, 4, 0], [4, 4, 0]]],
    ids=["collinear", "coplanar"],
)
def test_zero_volume(calc: JMPCalculator, cell: list[list[float]]) -> None:
    refused(calc, Atoms("H", cell=cell, pbc=True), "zero volume")


def test_left_handed_cell_gives_the_same_energy_forces_and_stress(calc: JMPCalculator, salt: Atoms) -> None:
    left = salt.copy()
    left.set_cell(salt.cell.array[[1, 0, 2]])
    assert np.linalg.det(left.cell.array) * np.linalg.det(salt.cell.array) < 0
    assert calc.get_potential_energy(left) == pytest.approx(calc.get_potential_energy(salt), abs=1e-10)
    np.testing.assert_allclose(calc.get_forces(left), calc.get_forces(salt), atol=1e-9)
    np.testing.assert_allclose(calc.get_stress(left), calc.get_stress(salt), atol=1e-10)


def test_very_skewed_cell_equals_the_reduced_cell(calc: JMPCalculator, salt: Atoms) -> None:
    skewed = salt.copy()
    skewed.set_cell(np.array([[1, 0, 0], [5, 1, 0], [-3, 4, 1]]) @ salt.cell.array)
    assert skewed.cell.angles().min() < 20
    reduced = salt.copy()
    reduced.set_cell(minkowski_reduce(salt.cell)[0])
    assert calc.get_potential_energy(skewed) == pytest.approx(calc.get_potential_energy(reduced), abs=1e-9)
    np.testing.assert_allclose(calc.get_stress(skewed), calc.get_stress(reduced), atol=1e-10)


def test_cell_smaller_than_the_cutoff_equals_its_supercell(calc: JMPCalculator) -> None:
    one = bulk("Cu", a=3.6)
    assert one.cell.lengths().max() < calc.info.policy.cutoff
    many = one * (2, 3, 4)
    assert calc.get_potential_energy(many) / 24 == pytest.approx(calc.get_potential_energy(one), abs=1e-9)
    np.testing.assert_allclose(calc.get_stress(many), calc.get_stress(one), atol=1e-10)


def test_huge_vacuum_changes_nothing(calc: JMPCalculator, ethanol: Atoms) -> None:
    energy, forces = calc.get_potential_energy(ethanol), calc.get_forces(ethanol)
    for pbc in (False, True, [True, False, True]):
        boxed = Atoms(ethanol, cell=[100.0, 100.0, 5000.0], pbc=pbc)
        assert calc.get_potential_energy(boxed) == pytest.approx(energy, abs=1e-9)
        np.testing.assert_allclose(calc.get_forces(boxed), forces, atol=1e-9)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_position_names_the_atom(calc: JMPCalculator, ethanol: Atoms, value: float) -> None:
    ethanol.positions[4, 1] = value
    refused(calc, ethanol, "position of atom 4 is not finite")


def test_nan_in_cell_names_the_vector(calc: JMPCalculator) -> None:
    refused(
        calc, Atoms("H", cell=[[5, 0, 0], [0, np.nan, 0], [0, 0, 5]], pbc=True), "Cell vector b is not finite"
    )


def test_two_atoms_at_the_same_place(calc: JMPCalculator, ethanol: Atoms) -> None:
    ethanol.positions[7] = ethanol.positions[2]
    refused(calc, ethanol, "Distance 0 between 2 and 7")


def test_same_place_through_the_boundary(calc: JMPCalculator) -> None:
    cell = np.array([[4.0, 0.3, 0.0], [1.0, 4.2, 0.5], [0.2, 0.1, 5.0]])
    atoms = Atoms("NaCl", positions=[[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]], cell=cell, pbc=True)
    atoms.positions[1] += np.array([2, -3, 1]) @ cell
    refused(calc, atoms, "Distance 0 between 0 and 1")
    atoms.pbc = [True, True, False]
    atoms.positions[1] = atoms.positions[0] + cell[2]
    assert np.isfinite(calc.get_potential_energy(atoms))


def test_image_of_the_same_atom(calc: JMPCalculator) -> None:
    refused(calc, Atoms("H", cell=[0.005, 5, 5], pbc=True), "atom 0 and its own periodic image")


@pytest.mark.parametrize(
    "cell, message",
    [
        (0.01 * np.eye(3), "no material is that dense"),
        (1e-3 * np.eye(3), "The cell is so small that .* images of an atom lie within 0.3 Å"),
        ([[8, 0, 0], [0, 8, 0], [8, 0, 1e-4]], r"Distance 0\.0001 Å between atom 0 and its own"),
        ([[1e-300, 0, 0], [0, 5, 0], [0, 0, 5]], "Cell vector a is 1e-300 Å long"),
        ([[5, 0, 0], [0, 1e200, 0], [0, 0, 5]], r"Cell vector b is 1e\+200 Å long"),
    ],
)
@pytest.mark.filterwarnings("ignore::jmp_calc.errors.JMPWarning")
def test_cells_far_too_small_or_too_large_are_refused_at_once(
    calc: JMPCalculator, cell: object, message: str
) -> None:
    refused(calc, Atoms("H", cell=cell, pbc=True), message)


def test_very_short_distance_is_a_warning(calc: JMPCalculator) -> None:
    with pytest.warns(JMPWarning, match=r"Distance 0\.200 Å between 0 and 1 is below 0\.3"):
        assert np.isfinite(calc.get_potential_energy(Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.2]])))


@pytest.mark.parametrize("seed", range(6))
def test_closest_pair_equals_brute_force(seed: int) -> None:
    random = np.random.default_rng(seed)
    cell = np.eye(3) * 3 + random.normal(size=(3, 3)) * (0.3 + 0.3 * seed)
    pbc = random.random(3) < 0.7
    positions = random.normal(size=(5, 3)) * 6
    images = np.array([[i, j, k] for i in range(-12, 13) for j in range(-12, 13) for k in range(-12, 13)])
    images = images[(images[:, ~pbc] == 0).all(axis=1)] @ cell
    distance = np.linalg.norm(positions[None, :, None] + images - positions[:, None, None], axis=-1)
    distance[distance < 1e-12] = np.inf
    found = closest_pair(positions, cell, pbc, below=20.0)
    assert found is not None
    assert found[2] == pytest.approx(distance.min(), abs=1e-9)


def test_atoms_unwrapped_by_many_cells(calc: JMPCalculator, salt: Atoms) -> None:
    far = salt.copy()
    far.positions += np.array([[7, -30, 2], [-50, 11, 1]]) @ salt.cell.array
    assert calc.get_potential_energy(far) == pytest.approx(calc.get_potential_energy(salt), abs=1e-9)
    np.testing.assert_allclose(calc.get_forces(far), calc.get_forces(salt), atol=1e-9)


@pytest.mark.capability("A10")
def test_element_outside_the_head_names_it_and_what_is_supported(two_heads: Path) -> None:
    calc = JMPCalculator(two_heads, head="organic", device="cpu")
    with pytest.raises(
        ModelError, match=r"not trained on Na, Cl; it covers H C N O. .*: materials"
    ) as caught:
        calc.get_potential_energy(bulk("NaCl", "rocksalt", a=5.6))
    assert caught.value.exit_code == 5
    with pytest.raises(ModelError, match="no head of tiny covers"):
        calc.get_potential_energy(bulk("Fe"))


def test_elements_any_computes_what_the_head_does_not_cover_and_warns_once(two_heads: Path) -> None:
    calc = JMPCalculator(two_heads, head="organic", device="cpu", dtype="float64", elements="any")
    salt = bulk("NaCl", "rocksalt", a=5.6)
    with pytest.warns(JMPWarning, match="Head 'organic' was not trained on Na, Cl: .* is arbitrary") as told:
        energy = calc.get_potential_energy(salt)
    assert np.isfinite(energy) and len(told) == 1
    salt.rattle(0.01, seed=0)
    calc.get_potential_energy(salt)  # a second warning would be an error here
    assert calc.todict()["elements"] == "any"
    with pytest.raises(BadStructureError, match="atomic number 121"):
        calc.get_potential_energy(Atoms([121]))
    with pytest.raises(UsageError, match="elements='all' is not a choice"):
        JMPCalculator(two_heads, head="organic", elements="all")  # type: ignore[arg-type]


def test_ghost_atom_names_the_index(calc: JMPCalculator) -> None:
    refused(calc, Atoms("HXH", positions=[[0, 0, 0], [0, 0, 1], [0, 0, 2]]), "Atom 1 is a ghost atom")


@pytest.mark.parametrize("number", [121, 500, -3])
def test_impossible_atomic_number(calc: JMPCalculator, number: int) -> None:
    refused(
        calc,
        Atoms(numbers=[1, number], positions=[[0, 0, 0], [0, 0, 1]]),
        f"Atom 1 has atomic number {number}",
    )


def test_masses_do_not_change_the_energy(calc: JMPCalculator, ethanol: Atoms) -> None:
    energy = calc.get_potential_energy(ethanol)
    ethanol.set_masses([2.014 if z == 1 else None for z in ethanol.numbers])
    calc.reset()
    assert calc.get_potential_energy(ethanol) == energy


def test_charges_and_magmoms_are_ignored_with_one_line(
    calc: JMPCalculator, ethanol: Atoms, caplog: pytest.LogCaptureFixture
) -> None:
    energy = calc.get_potential_energy(ethanol)
    ethanol.set_initial_charges(np.linspace(-1, 1, len(ethanol)))
    ethanol.set_initial_magnetic_moments(np.ones(len(ethanol)))
    with caplog.at_level(logging.INFO, logger="jmp_calc"):
        for _ in range(3):
            calc.reset()
            assert calc.get_potential_energy(ethanol) == energy
    assert [record.message for record in caplog.records] == [
        "initial charges and initial magnetic moments are ignored: the model does not read them"
    ]


@pytest.mark.capability("A11")
def test_total_charge_is_refused_unless_zero(calc: JMPCalculator, ethanol: Atoms) -> None:
    for harmless in (0, 0.0, None, np.int64(0), np.array([0.0])):
        ethanol.info["charge"] = harmless
        energy = calc.get_potential_energy(ethanol)
    ethanol.info["charge"] = -1
    refused(calc, ethanol, "key 'charge' is -1")
    for nonsense in (np.array([0, 0]), "none"):
        ethanol.info["charge"] = nonsense
        refused(calc, ethanol, "key 'charge' is .*, which is not the total charge")
    ethanol.info["charge"] = 0
    assert calc.get_potential_energy(ethanol) == energy


def test_constraints_leave_raw_forces_in_the_results(calc: JMPCalculator, ethanol: Atoms) -> None:
    free = calc.get_forces(ethanol)
    ethanol.set_constraint(FixAtoms([0, 1]))
    ethanol.calc = calc
    assert np.all(ethanol.get_forces()[:2] == 0)
    np.testing.assert_array_equal(calc.results["forces"], free)


def test_constraint_on_the_centre_of_mass_names_no_atoms(calc: JMPCalculator, ethanol: Atoms) -> None:
    calc.calculate(ethanol, ["energy"])
    energy = calc.results["energy"]
    ethanol.set_constraint(FixCom())  # its index is a slice
    ethanol.calc = calc
    assert ethanol.get_potential_energy() == energy


def test_constraint_on_an_atom_that_is_not_there(calc: JMPCalculator, ethanol: Atoms) -> None:
    ethanol.set_constraint(FixAtoms([0, 9]))
    refused(calc, ethanol, "Constraint FixAtoms names atom 9, the structure has 9 atoms")


def test_too_many_atoms_are_refused_with_an_estimate(calc: JMPCalculator) -> None:
    count = 60
    grid = (
        np.stack(np.meshgrid(*[np.arange(count)] * 3), -1).reshape(-1, 3) * 0.9
    )  # dense: thousands of neighbours
    dense = Atoms(numbers=np.ones(len(grid)), positions=grid, cell=np.eye(3) * count * 0.9, pbc=True)
    message = r"216000 atoms with \d+ edges each need about \d+\.\d GiB with this model, .* GiB is free"
    with pytest.raises(OutOfMemoryError, match=message):
        calc.get_forces(dense)


def test_fragments_beyond_the_cutoff_are_additive(calc: JMPCalculator) -> None:
    water, far = molecule("H2O"), molecule("H2O")
    far.translate([0, 0, 40.0])
    apart = water + far + Atoms("He", positions=[[50, 0, 0]])
    total = 2 * calc.get_potential_energy(water) + calc.get_potential_energy(Atoms("He"))
    assert calc.get_potential_energy(apart) == pytest.approx(total, abs=1e-9)
    np.testing.assert_allclose(calc.get_forces(apart)[:3], calc.get_forces(water), atol=1e-9)


def test_official_graphs_survive_missing_edges(official_path: Path) -> None:
    calc = JMPCalculator(official_path, device="cpu", dtype="float64")
    alone = Atoms("O")
    np.testing.assert_array_equal(calc.get_forces(alone), 0.0)
    apart = Atoms("OO", positions=[[0, 0, 0], [0, 0, 30]])
    assert calc.get_potential_energy(apart) == pytest.approx(2 * calc.get_potential_energy(alone), abs=1e-9)
    for name in ("CO2", "C2H2", "H2"):
        assert np.isfinite(calc.get_forces(molecule(name))).all()


def test_mixed_periodicity_in_one_batch(calc: JMPCalculator, salt: Atoms, ethanol: Atoms) -> None:
    slab = bulk("Cu", cubic=True)
    slab.pbc = [True, False, True]
    structures = [ethanol, salt, slab, Atoms("He")]
    batch = collate([calc.build_graph(atoms) for atoms in structures])
    together = calc.evaluator.potential(batch, heads="materials", forces="conservative")
    single = [calc.get_potential_energy(atoms) for atoms in structures]
    np.testing.assert_allclose(together.energy.detach().numpy(), single, atol=1e-9)
    forces = np.concatenate([calc.get_forces(atoms) for atoms in structures])
    np.testing.assert_allclose(together.forces.numpy(), forces, atol=1e-9)


@pytest.mark.parametrize("name", ["CO2", "C2H2", "HCN", "H2", "C6H6", "C2H4", "BF3"])
def test_linear_and_planar_molecules_are_finite(calc: JMPCalculator, name: str) -> None:
    atoms = molecule(name)
    forces = calc.get_forces(atoms)
    assert np.isfinite(forces).all()
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-9)


@pytest.mark.parametrize(
    "atoms", [bulk("Cu"), bulk("Si"), bulk("NaCl", "rocksalt", a=5.64)], ids=["Cu", "Si", "NaCl"]
)
def test_perfect_crystal_has_no_forces_and_an_isotropic_stress(calc: JMPCalculator, atoms: Atoms) -> None:
    np.testing.assert_allclose(calc.get_forces(atoms), 0.0, atol=1e-8)
    stress = calc.get_stress(atoms)
    np.testing.assert_allclose(stress[:3], stress[0], atol=1e-9)
    np.testing.assert_allclose(stress[3:], 0.0, atol=1e-9)


def test_checks_are_silent_for_a_sound_structure(calc: JMPCalculator, salt: Atoms) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calc.get_stress(salt)
