"""--chemiscope of evaluate and descriptors: labels, predictions and errors of structures and atoms."""

from __future__ import annotations

import gzip
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from jmp_calc import JMPCalculator
from jmp_calc.inference.descriptor_view import principal
from jmp_calc.io.chemiscope import FILE, INSTALL
from jmp_calc.training.validation.metrics import Predictions
from jmp_calc.training.validation.view import compared
from tests.extras import needs

INSTALLED = find_spec("chemiscope") is not None
needs_chemiscope = needs("view")


def labelled(atoms: Atoms, energy: float, force: float) -> Atoms:
    """With an energy, and a force along x on its first atom; the others have none."""
    forces = np.zeros((len(atoms), 3))
    forces[0, 0] = force
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    return atoms


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.extxyz"
    water, ethanol = molecule("H2O"), molecule("CH3CH2OH")
    salt = bulk("NaCl", "rocksalt", a=5.6)
    ase.io.write(path, [labelled(water, -3.0, 1.0), labelled(ethanol, -9.0, 0.0), labelled(salt, -2.0, 0.0)])
    return path


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return found


def values(view: dict[str, Any], name: str) -> np.ndarray:
    return np.array(view["properties"][name]["values"])


@needs_chemiscope
def test_errors_of_structures_and_atoms_are_those_of_the_calculator(
    run, model: str, data: Path, tmp_path: Path
) -> None:
    done = run("evaluate", data, "-m", model, "-o", tmp_path / "out", "--dtype", "float64", "--chemiscope")
    assert done.exit_code == 0, done.output
    view = read(tmp_path / "out" / FILE)
    frames, calc = ase.io.read(data, ":"), JMPCalculator(model, dtype="float64")
    energies, errors = [], []
    for atoms in frames:
        forces = calc.get_forces(atoms)
        energies.append(calc.get_potential_energy(atoms) / len(atoms))
        errors.append(1e3 * np.linalg.norm(forces - atoms.get_forces(), axis=1))
    assert [structure["size"] for structure in view["structures"]] == [3, 9, 2]
    assert len(view["environments"]) == 14
    assert values(view, "energy, label") == pytest.approx([-1.0, -1.0, -1.0])
    assert values(view, "energy, model") == pytest.approx(np.array(energies), abs=1e-6)
    assert values(view, "energy error") == pytest.approx(1e3 * (np.array(energies) + 1.0), abs=1e-3)
    assert values(view, "force error of the atom") == pytest.approx(np.concatenate(errors), abs=1e-2)
    assert values(view, "mean force error") == pytest.approx([e.mean() for e in errors], abs=1e-2)
    assert values(view, "largest force error") == pytest.approx([e.max() for e in errors], abs=1e-2)
    assert view["properties"]["force error of the atom"]["target"] == "atom"
    assert view["properties"]["force error of the atom"]["units"] == "meV/Å"
    assert "stress error" not in view["properties"]  # no frame has a stress
    assert view["settings"]["map"]["color"]["property"] == "energy error"
    summary = yaml.safe_load((tmp_path / "out" / "summary.yaml").read_text(encoding="utf-8"))
    assert any(output["path"].endswith(FILE) for output in summary["outputs"])


@needs_chemiscope
def test_descriptors_are_shown_along_their_principal_components(
    run, model: str, data: Path, tmp_path: Path
) -> None:
    words = ("descriptors", data, "-m", model, "--dtype", "float64", "--chemiscope", "-o")
    assert run(*words, tmp_path / "out").exit_code == 0
    view, arrays = read(tmp_path / "out" / FILE), np.load(tmp_path / "out" / "descriptors.npz")
    shown = np.array([values(view, f"PC {n}") for n in (1, 2, 3)]).T
    assert shown == pytest.approx(principal(arrays["mean"], 3)[0], abs=1e-9)
    assert len(values(view, "atom PC 1")) == 14
    assert values(view, "element").tolist() == [s for a in ase.io.read(data, ":") for s in a.symbols]
    assert values(view, "energy, label") == pytest.approx([-1.0, -1.0, -1.0])
    assert view["settings"]["target"] == "structure"
    assert run(*words, tmp_path / "means", "--no-per-atom").exit_code == 0
    assert "atom PC 1" not in read(tmp_path / "means" / FILE)["properties"]
    assert run(*words, tmp_path / "one", "--index", "0").exit_code == 0
    assert read(tmp_path / "one" / FILE)["settings"]["target"] == "atom"  # one structure is no map


@pytest.mark.skipif(INSTALLED, reason="chemiscope is installed")
@pytest.mark.parametrize("command", ["evaluate", "descriptors"])
def test_without_chemiscope_the_line_to_install_it_is_said_before_anything_is_computed(
    run, command: str, model: str, data: Path, tmp_path: Path
) -> None:
    done = run(command, data, "-m", model, "-o", tmp_path / "out", "--chemiscope")
    assert done.exit_code == 2
    assert "The package chemiscope is not installed." in done.stderr
    assert INSTALL in done.stderr
    assert not (tmp_path / "out").exists()


def test_principal_components_keep_distances_and_their_order() -> None:
    """A plane in five dimensions is found again: distances stay, the third component is empty."""
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(20, 2)) * [3.0, 1.0]
    axes, _ = np.linalg.qr(rng.normal(size=(5, 2)))
    coordinates, share = principal(plane @ axes.T + 7.0, 3)
    between = np.linalg.norm(coordinates[:, None] - coordinates, axis=-1)
    assert between == pytest.approx(np.linalg.norm(plane[:, None] - plane, axis=-1), abs=1e-9)
    assert share[0] > share[1] > share[2] == pytest.approx(0.0, abs=1e-12)
    assert share.sum() == pytest.approx(1.0)
    assert principal(plane[:1], 3)[0].tolist() == [[0.0, 0.0, 0.0]]


def shown_of(*, classes: tuple[str, ...] = (), **known: np.ndarray) -> dict[str, np.ndarray]:
    """Values by name that a head of scalars, classes or vectors shows for two structures of one atom."""
    shapes = {"energy": (2,), "forces": (2, 3), "stress": (2, 3, 3), "scalar": (2,), "chosen": (2,)}
    arrays = {name: np.full(shape, np.nan) for name, shape in (shapes | {"vector": (2, 3)}).items()}
    arrays |= {f"{name}_true": array for name, array in arrays.items()}
    shown = compared(Predictions(n_atoms=np.array([1, 1]), **(arrays | known)), "gap", classes)
    return {name: np.asarray(one.values) for name, one in shown.items()}


def test_heads_of_scalars_classes_and_vectors_show_label_prediction_and_error() -> None:
    scalars = shown_of(scalar=np.array([1.0, 4.0]), scalar_true=np.array([1.5, 3.0]))
    assert scalars["gap error"].tolist() == [-0.5, 1.0]
    assert list(scalars) == ["gap, label", "gap, model", "gap error"]
    chosen = shown_of(chosen=np.array([0.0, np.nan]), chosen_true=np.array([0.0, 1.0]), classes=("a", "b"))
    assert chosen["gap, model"].tolist() == ["a", "not finite"]
    assert chosen["gap, right"].tolist() == [1.0, 0.0]
    vectors = shown_of(vector=np.full((2, 3), 2.0), vector_true=np.ones((2, 3)))
    assert vectors["gap error"] == pytest.approx(np.sqrt(3.0))
