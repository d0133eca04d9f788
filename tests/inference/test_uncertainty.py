"""Standard deviations from last-layer features and from committees."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import PropertyNotImplementedError

from jmp_calc import JMPCalculator
from jmp_calc.errors import JMPWarning, ModelError, UsageError
from jmp_calc.inference.uncertainty import refuse_other_method
from jmp_calc.model.config import HeadConfig, Theory
from tests.inference.knowing import knowing_model, training_structures, with_committee
from tests.small_network import ANY

STEP = 1e-4


@pytest.fixture(scope="module")
def known(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return knowing_model(model_path, tmp_path_factory.mktemp("known") / "known.safetensors")


@pytest.fixture(scope="module")
def uncertain(known: Path) -> JMPCalculator:
    return JMPCalculator(known, dtype="float64", device="cpu", uncertainty="last-layer")


@pytest.fixture(scope="module")
def committee(known: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    others = replace(ANY, name="second"), replace(ANY, name="third")
    path = tmp_path_factory.mktemp("committee") / "committee.safetensors"
    return with_committee(known, path, *others, scale=2.0)


def computed(calc: JMPCalculator, atoms: Atoms, *names: str) -> dict:
    (found,) = calc.batch(atoms, names)
    return found


def test_asking_changes_no_energy_and_no_force(known: Path, uncertain: JMPCalculator, ethanol: Atoms) -> None:
    plain = JMPCalculator(known, dtype="float64", device="cpu")
    one = computed(plain, ethanol, "energy", "forces")
    other = computed(uncertain, ethanol, "energy", "forces", "forces_std")
    assert one["energy"] == other["energy"]
    assert np.array_equal(one["forces"], other["forces"])
    assert "energy_std" not in one


@pytest.mark.capability("A8")
def test_the_deviation_of_an_energy_is_that_of_its_features(uncertain: JMPCalculator, ethanol: Atoms) -> None:
    from jmp_calc.graph.batch import collate

    evaluator = uncertain.evaluator
    found = evaluator.potential.readout(collate([uncertain.build_graph(ethanol)]), "materials")
    statistics = evaluator._knowledge.heads["materials"]
    feature = found.features.numpy()[0]
    inverse = np.linalg.inv(statistics.covariance + statistics.regulariser * np.eye(len(feature)))
    expected = statistics.scale * np.sqrt(feature @ inverse @ feature)
    assert computed(uncertain, ethanol, "energy_std")["energy_std"] == pytest.approx(expected, rel=1e-8)


@pytest.mark.capability("A8")
def test_deviations_of_forces_are_slopes_of_those_of_energies(
    uncertain: JMPCalculator, committee: Path, ethanol: Atoms
) -> None:
    """Energies of all members on both sides of an atom, against the deviation of its force."""
    several = JMPCalculator(committee, dtype="float64", device="cpu", uncertainty="committee")
    for calc in (uncertain, several):
        deviations = computed(calc, ethanol, "forces_std")["forces_std"]
        assert deviations.shape == (len(ethanol), 3)
        for atom, axis in ((0, 0), (2, 1), (7, 2)):
            sides = []
            for sign in (1, -1):
                moved = ethanol.copy()
                moved.positions[atom, axis] += sign * STEP
                sides.append(members(calc, moved))
            slope = (sides[0] - sides[1]) / (2 * STEP)
            expected = np.linalg.norm(slope) if calc is uncertain else 2.0 * np.std(slope, ddof=1)
            assert deviations[atom, axis] == pytest.approx(expected, rel=1e-4, abs=1e-7)


def members(calc: JMPCalculator, atoms: Atoms) -> np.ndarray:
    """(K,) energies of the members in eV, but for what all have alike."""
    from jmp_calc.graph.batch import collate

    evaluator = calc.evaluator
    batch = collate([calc.build_graph(atoms)])
    source, features = evaluator._uncertain(), evaluator.potential.final_features(batch)
    return source.members(batch, features).detach().numpy()[:, 0]  # type: ignore[union-attr]


def test_errors_of_two_equal_molecules_add_up(uncertain: JMPCalculator, ethanol: Atoms) -> None:
    far = ethanol.copy()
    far.translate([30.0, 0.0, 0.0])
    single = computed(uncertain, ethanol, "energy_std")["energy_std"]
    assert computed(uncertain, ethanol + far, "energy_std")["energy_std"] == pytest.approx(2 * single)


def test_turned_and_reordered_molecules_are_as_uncertain(uncertain: JMPCalculator, ethanol: Atoms) -> None:
    turned = ethanol.copy()[::-1]
    turned.rotate(37.0, (1, 2, 3))
    one, other = (computed(uncertain, atoms, "energy_std")["energy_std"] for atoms in (ethanol, turned))
    assert one == pytest.approx(other, rel=1e-9)


def test_a_lone_atom_is_certain(uncertain: JMPCalculator) -> None:
    found = computed(uncertain, Atoms("C"), "energy_std", "forces_std")
    assert found["energy_std"] == pytest.approx(0.0, abs=1e-12)
    assert np.allclose(found["forces_std"], 0.0)


def test_batches_have_the_deviations_of_single_calls(uncertain: JMPCalculator, ethanol: Atoms) -> None:
    calc = copy.copy(uncertain)
    both = calc.batch([molecule("CH4"), ethanol], ("energy", "forces_std"))
    assert calc.get_property("energy_std", ethanol) == pytest.approx(both[1]["energy_std"])
    assert np.allclose(calc.get_property("forces_std", ethanol), both[1]["forces_std"])


def test_results_have_the_deviation_of_the_energy(uncertain: JMPCalculator, ethanol: Atoms) -> None:
    ethanol.calc = copy.copy(uncertain)
    ethanol.get_forces()
    assert ethanol.calc.results["energy_std"] > 0


@pytest.mark.capability("A8")
def test_heads_of_one_file_are_a_committee(committee: Path, ethanol: Atoms) -> None:
    names = ("materials", "second", "third")
    alone = [JMPCalculator(committee, head=name, dtype="float64", device="cpu") for name in names]
    energies = [computed(calc, ethanol, "energy")["energy"] for calc in alone]
    forces = [computed(calc, ethanol, "forces")["forces"] for calc in alone]
    calc = JMPCalculator(committee, dtype="float64", device="cpu", uncertainty="committee")
    found = computed(calc, ethanol, "energy", "forces_std")
    assert found["energy"] == energies[0]
    assert found["energy_std"] == pytest.approx(2.0 * np.std(energies, ddof=1))
    assert np.allclose(found["forces_std"], 2.0 * np.std(forces, axis=0, ddof=1))


def test_constants_of_the_heads_of_a_committee_count(known: Path, tmp_path: Path, ethanol: Atoms) -> None:
    """As after training on forces alone, where each head has the constants that its own weights lack."""
    second = replace(ANY, name="second", references={1: 0.3, 6: -0.2})
    third = replace(ANY, name="third", binding={8: 0.5})
    path = with_committee(known, tmp_path / "committee.safetensors", second, third)
    alone = [
        JMPCalculator(path, head=name, dtype="float64", device="cpu")
        for name in ("materials", "second", "third")
    ]
    energies = [computed(calc, ethanol, "energy")["energy"] for calc in alone]
    calc = JMPCalculator(path, dtype="float64", device="cpu", uncertainty="committee")
    assert computed(calc, ethanol, "energy_std")["energy_std"] == pytest.approx(
        np.std(energies, ddof=1), rel=0.02
    )
    lone = computed(calc, Atoms("O"), "energy_std")["energy_std"]
    assert lone == pytest.approx(0.0, abs=1e-6)  # bound atoms only have a binding energy


@pytest.mark.capability("A8")
def test_several_files_are_a_committee(known: Path, make_model, ethanol: Atoms) -> None:
    other = make_model(default="materials", seed=1)
    calc = JMPCalculator(
        known, dtype="float64", device="cpu", uncertainty="committee", committee=[other, known]
    )
    alone = [JMPCalculator(path, dtype="float64", device="cpu") for path in (known, other, known)]
    singles = [computed(one, ethanol, "energy", "forces") for one in alone]
    found = computed(calc, ethanol, "energy", "forces_std")
    assert found["energy_std"] == pytest.approx(np.std([one["energy"] for one in singles], ddof=1))
    assert np.allclose(found["forces_std"], np.std([one["forces"] for one in singles], axis=0, ddof=1))


@pytest.mark.parametrize(
    ("one", "other", "fact"),
    [
        (Theory("PBE"), Theory("RPBE"), "functional RPBE and PBE"),
        (Theory("PBE", dispersion="none"), Theory("PBE", dispersion="D3(BJ)"), "dispersion D3"),
        (Theory("PBE", hubbard_u="none"), Theory("PBE", hubbard_u="Ti 4.0 eV"), "hubbard_u Ti"),
    ],
)
def test_a_committee_is_of_one_method(one: Theory, other: Theory, fact: str) -> None:
    heads = HeadConfig("a", theory=one), HeadConfig("b", theory=other)
    with pytest.raises(ModelError, match=fact):
        refuse_other_method(*heads, "other.safetensors")
    with pytest.raises(ModelError, match="'b' of other.safetensors"):
        refuse_other_method(*heads, "other.safetensors")


def test_methods_that_are_not_known_do_not_differ() -> None:
    known = HeadConfig("a", theory=Theory("PBE", "def2-SVP", "none"))
    same = HeadConfig("b", theory=Theory("pbe", "plane waves"))
    for other in (known, same, HeadConfig("c"), None):
        refuse_other_method(known, other, "other.safetensors")


def test_what_has_no_uncertainty_says_so(known: Path, model_path: Path, ethanol: Atoms) -> None:
    with pytest.raises(ModelError, match="no statistics of the last layer"):
        JMPCalculator(model_path, uncertainty="last-layer")
    with pytest.raises(ModelError, match="has no committee"):
        JMPCalculator(known, uncertainty="committee")
    with pytest.raises(UsageError, match="committee names files"):
        JMPCalculator(known, committee=[model_path])
    with pytest.raises(UsageError, match="is not a choice"):
        JMPCalculator(known, uncertainty="yes")  # type: ignore[arg-type]
    with pytest.raises(PropertyNotImplementedError, match="uncertainty='last-layer' adds"):
        JMPCalculator(known).batch(ethanol, ("energy_std",))


def test_surroundings_unlike_the_training_data_are_told_once(known: Path) -> None:
    calc = JMPCalculator(known, device="cpu")
    calc.batch(training_structures())  # silent: warnings are errors here
    squeezed = molecule("CH3CH2OH")
    squeezed.positions *= 0.45
    with pytest.warns(JMPWarning, match=r"surroundings of atom \d+ \([CHO]\) are unlike"):
        calc.batch(squeezed)
    calc.batch(squeezed)


def test_distances_from_the_training_data_are_about_one(known: Path) -> None:
    from jmp_calc.inference.domain import Domain

    calc = JMPCalculator(known, device="cpu")
    frames = training_structures()
    found = calc.descriptors(frames)
    distances = Domain(calc.evaluator._knowledge.elements).distances(found.numbers, found.per_atom)
    assert 0.5 < np.sqrt(np.mean(distances**2)) < 1.5
