"""calc.descriptors: invariant features, equal for equal surroundings and different for different ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from jmp_calc import JMPCalculator
from jmp_calc.errors import BadStructureError, ModelError, UsageError
from jmp_calc.model.config import HeadConfig
from jmp_calc.model.potential import Layer

TOLERANCE = 1e-10
"""Of float64 features of order 1."""
LAYERS: list[Layer] = [1, "final"]
NAMES = ["ethanol", "salt"]


@pytest.fixture(params=NAMES)
def atoms(request: pytest.FixtureRequest) -> Atoms:
    """A molecule, and a triclinic crystal smaller than the cutoff."""
    found: Atoms = request.getfixturevalue(request.param)
    return found


def largest(difference: NDArray) -> float:
    return float(np.abs(difference).max())


@pytest.mark.parametrize("layer", LAYERS)
def test_rotated_reflected_and_moved_structures_have_the_same(
    calc: JMPCalculator, atoms: Atoms, layer: Layer
) -> None:
    expected = calc.descriptors(atoms, layer=layer).per_atom
    assert expected.dtype == np.float64 and expected.shape == (len(atoms), 16)
    assert largest(expected) > 0.1
    rotation = Rotation.from_rotvec([0.4, -1.1, 2.0]).as_matrix()
    for matrix in (rotation, -rotation):
        other = Atoms(
            atoms.numbers,
            atoms.positions @ matrix + [3.0, -7.1, 0.2],
            cell=atoms.cell.array @ matrix,
            pbc=atoms.pbc,
        )
        assert largest(calc.descriptors(other, layer=layer).per_atom - expected) <= TOLERANCE


@pytest.mark.parametrize("layer", LAYERS)
def test_they_follow_the_order_of_the_atoms(calc: JMPCalculator, ethanol: Atoms, layer: Layer) -> None:
    order = np.random.default_rng(1).permutation(len(ethanol))
    expected, found = calc.descriptors(ethanol, layer=layer), calc.descriptors(ethanol[order], layer=layer)
    assert largest(found.per_atom - expected.per_atom[order]) <= TOLERANCE
    assert largest(found.mean() - expected.mean()) <= TOLERANCE


@pytest.mark.parametrize("layer", LAYERS)
def test_a_supercell_repeats_them(calc: JMPCalculator, salt: Atoms, layer: Layer) -> None:
    one, eight = calc.descriptors(salt, layer=layer), calc.descriptors(salt * 2, layer=layer)
    assert largest(eight.per_atom - np.tile(one.per_atom, (8, 1))) <= TOLERANCE
    assert largest(eight.mean() - one.mean()) <= TOLERANCE
    assert largest(eight.sum() - 8 * one.sum()) <= 8 * TOLERANCE


@pytest.mark.parametrize("layer", LAYERS)
def test_batch_mates_do_not_matter(
    calc: JMPCalculator, monkeypatch: pytest.MonkeyPatch, ethanol: Atoms, salt: Atoms, layer: Layer
) -> None:
    structures = [ethanol, bulk("Cu"), salt, Atoms("O"), molecule("C6H6")]
    together = calc.descriptors(structures, layer=layer)
    monkeypatch.setattr("jmp_calc.inference.batching.WINDOW", 2)
    monkeypatch.setattr("jmp_calc.inference.batching.CPU_BYTES", 1.0)
    for number, atoms in enumerate(structures):
        assert largest(together.of(number) - calc.descriptors(atoms, layer=layer).per_atom) <= TOLERANCE
    assert largest(calc.descriptors(structures, layer=layer).per_atom - together.per_atom) <= TOLERANCE


def test_final_features_are_what_the_head_reads(make_model, ethanol: Atoms) -> None:
    """Energy = scale · Σ head(features) where nothing is added to it."""
    plain = HeadConfig("plain", hidden=16, num_layers=2, energy_scale=1.7, reference_kind="none")
    calc = JMPCalculator(
        make_model(heads=(plain,), subtract_lone_atom=False, pair_repulsion=False), dtype="float64"
    )
    features = torch.from_numpy(calc.descriptors(ethanol).per_atom)
    energies = 1.7 * calc.evaluator.potential.heads["plain"].per_atom(features).detach().numpy()[:, 0]
    assert energies == pytest.approx(calc.get_property("energies", ethanol), abs=1e-9)


def test_atoms_with_equal_surroundings_have_equal_features_and_others_not(calc: JMPCalculator) -> None:
    methane = molecule("CH4")
    features = calc.descriptors(methane).per_atom
    hydrogens = features[methane.numbers == 1]
    assert largest(hydrogens - hydrogens[0]) <= 1e-6  # ASE's coordinates have nine digits
    methane.positions[1] *= 1.05
    moved = calc.descriptors(methane).per_atom
    assert largest(moved[1] - moved[2]) > 1e-4
    assert largest(features[0] - features[1]) > 0.1


def test_far_atoms_change_nothing(calc: JMPCalculator, ethanol: Atoms) -> None:
    both = ethanol + Atoms("Cu", positions=ethanol.positions[:1] + [50.0, 0.0, 0.0])
    assert largest(calc.descriptors(both).per_atom[:-1] - calc.descriptors(ethanol).per_atom) <= TOLERANCE


def test_layers_differ_and_have_the_width_of_the_network(calc: JMPCalculator, ethanol: Atoms) -> None:
    first, final = (calc.descriptors(ethanol, layer=layer).per_atom for layer in LAYERS)
    assert first.shape == final.shape
    assert largest(first - final) > 0.1


def test_means_sums_and_elements(calc: JMPCalculator, ethanol: Atoms, salt: Atoms) -> None:
    found = calc.descriptors([ethanol, salt])
    assert found.offsets.tolist() == [0, 9, 11] and found.formulas == ("C2H6O", "ClNa")
    assert found.mean() == pytest.approx(np.array([found.of(0).mean(axis=0), found.of(1).mean(axis=0)]))
    assert found.sum() == pytest.approx(np.array([found.of(0).sum(axis=0), found.of(1).sum(axis=0)]))
    means = found.element_means()
    assert means.structure.tolist() == [0, 0, 0, 1, 1] and means.number.tolist() == [1, 6, 8, 11, 17]
    assert means.mean[0] == pytest.approx(found.of(0)[ethanol.numbers == 1].mean(axis=0))
    assert means.mean[4] == pytest.approx(found.of(1)[salt.numbers == 17].mean(axis=0))


def test_nothing_gives_nothing(calc: JMPCalculator) -> None:
    found = calc.descriptors([])
    assert found.per_atom.shape == found.mean().shape == found.element_means().mean.shape == (0, 16)


def test_precision_is_that_of_the_network(model_path, calc: JMPCalculator, ethanol: Atoms) -> None:
    single = JMPCalculator(model_path, dtype="float32").descriptors(ethanol)
    assert single.per_atom.dtype == np.float32 and single.mean().dtype == np.float64
    assert largest(single.per_atom - calc.descriptors(ethanol).per_atom) <= 1e-4


def test_cache_structures_and_gradients_stay_as_they_are(calc: JMPCalculator, ethanol: Atoms) -> None:
    ethanol.calc = calc
    forces, before, positions = ethanol.get_forces(), calc.results, ethanol.positions.copy()
    with torch.inference_mode():
        calc.descriptors([ethanol, molecule("H2O")])
    assert calc.results is before and np.array_equal(ethanol.positions, positions)
    ethanol.positions += 1e-12
    assert largest(ethanol.get_forces() - forces) <= 1e-8


@pytest.mark.parametrize("layer", [0, 2, -1, "last", None, True, 1.0])
def test_a_layer_that_is_not_there(calc: JMPCalculator, ethanol: Atoms, layer: object) -> None:
    with pytest.raises(UsageError, match=r"not a layer .* 1 to 1"):
        calc.descriptors(ethanol, layer=layer)  # type: ignore[arg-type]


def test_every_head_has_the_same_and_its_elements_do_not_matter(
    two_heads, salt: Atoms, ethanol: Atoms
) -> None:
    organic, materials = (
        JMPCalculator(two_heads, head=head, dtype="float64") for head in ("organic", "materials")
    )
    together = organic.descriptors([salt, ethanol])
    assert np.array_equal(together.per_atom, materials.descriptors([salt, ethanol]).per_atom)
    with pytest.raises(ModelError, match="was not trained on"):
        organic.get_property("energy", salt)
    with pytest.raises(ModelError, match="No head of tiny was trained on Au, Pb") as caught:
        organic.descriptors([ethanol, Atoms("AuPb", positions=[[0, 0, 0], [0, 0, 3]])])
    assert caught.value.where == "structure 1"


def test_a_head_with_unknown_elements_covers_all(make_model) -> None:
    limited = HeadConfig("limited", hidden=16, num_layers=2, elements=(1,))
    calc = JMPCalculator(
        make_model(heads=(limited, replace(limited, name="any", elements=None))), head="limited"
    )
    assert np.isfinite(calc.descriptors(Atoms("Au")).per_atom).all()


def test_features_that_are_no_numbers_are_an_error(
    calc: JMPCalculator, monkeypatch: pytest.MonkeyPatch, ethanol: Atoms
) -> None:
    broken = torch.zeros(18, 16, dtype=torch.float64)
    broken[11, 3] = torch.nan
    monkeypatch.setattr(calc.evaluator.potential, "descriptors", lambda *_: broken)
    with pytest.raises(ModelError, match="non-finite descriptor of atom 2") as caught:
        calc.descriptors([ethanol, ethanol])
    assert caught.value.where == "among structures 0 to 1"


def test_errors_name_the_structure(calc: JMPCalculator) -> None:
    bad = molecule("H2O")
    bad.positions[0, 0] = np.nan
    with pytest.raises(BadStructureError) as caught:
        calc.descriptors([molecule("H2O"), bad])
    assert caught.value.where == "structure 1"


def test_structures_are_counted_from_either_end(calc: JMPCalculator) -> None:
    found = calc.descriptors([molecule("H2O"), molecule("CH3CH2OH")])
    assert found.of(-1).shape[0] == 9 and np.array_equal(found.of(-2), found.of(0))
    for missing in (2, -3):
        with pytest.raises(UsageError, match=f"no structure {missing}"):
            found.of(missing)
