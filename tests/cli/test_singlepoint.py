"""jmp-calc singlepoint: scalars, classes and vectors of structures without labels; several files, patterns
and folders, each frame with the name of its file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import SCFError
from click.testing import Result

import jmp_calc
from jmp_calc.cli.singlepoint_output import Results, _up_to_a_fault
from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.io.structures import NamedFrame
from jmp_calc.model.config import HeadConfig, ModelConfig
from jmp_calc.model.potential import Potential
from jmp_calc.zoo.container import ModelCard, save_model
from tests.cli.summaries import summary
from tests.small_network import BACKBONE

Run = Callable[..., Result]
HEADS = (
    HeadConfig("gaps", kind="scalar", reduction="mean", target="band gap", unit="eV", hidden=8, num_layers=2),
    HeadConfig("untold", kind="scalar", reduction="sum", unit="K", hidden=8, num_layers=2),
    HeadConfig(
        "phases",
        kind="multiclass",
        reduction="mean",
        num_classes=3,
        classes=("bcc", "fcc", "hcp"),
        target="phase",
        unit="class",
        hidden=8,
        num_layers=2,
    ),
    HeadConfig("metals", kind="binary", reduction="mean", hidden=8, num_layers=2),
    HeadConfig("dipoles", kind="vector", target="mu", unit="D", hidden=8, num_layers=2, elements=(1, 8)),
    HeadConfig("energies", hidden=8, num_layers=2),
)


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with a head of every kind; that of gaps is the default."""
    policy = GraphPolicy("smooth", cutoff=4.0, a2a_cutoff=4.0, a2ee2a_cutoff=3.5, qint_cutoff=3.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        potential = Potential(ModelConfig(BACKBONE, policy, HEADS, default_head="gaps"))
    path = tmp_path_factory.mktemp("targets") / "targets.safetensors"
    save_model(path, potential, ModelCard(name="targets"))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two molecules in one file, a crystal in another, and a text."""
    out = tmp_path / "in"
    out.mkdir()
    ase.io.write(out / "a.extxyz", [molecule("H2O"), molecule("CH3OH")])
    ase.io.write(out / "b.cif", bulk("NaCl", "rocksalt", a=5.6))
    (out / "notes.txt").write_text("not a structure")
    return out


def test_a_scalar_is_predicted_for_structures_without_labels(
    run: Run, targets: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run("singlepoint", folder / "a.extxyz", "-m", targets, "-o", out)
    assert done.exit_code == 0, done.output
    images = ase.io.read(folder / "a.extxyz", ":")
    expected = jmp_calc.predict(images, model=targets)
    written = ase.io.read(out / "results.extxyz", ":")
    assert [atoms.info["jmp_band_gap"] for atoms in written] == pytest.approx(expected, abs=1e-6)
    assert all(atoms.calc is None for atoms in written), "a scalar is no energy"
    results = summary(out)["results"]
    assert [row["jmp_band gap"] for row in results["frames"]] == pytest.approx(expected, abs=1e-6)
    assert results["units"] == {"jmp_band gap": "eV"} and "file" not in results["frames"][0]
    table = done.stdout.splitlines()
    assert "band gap [eV]" in table[0]
    assert table[1].split() == ["0", "H2O", f"{expected[0]:.6f}"] and len(table) == 3


def test_a_target_without_a_name_goes_by_the_name_of_its_head(
    run: Run, targets: Path, water: Path, tmp_path: Path
) -> None:
    done = run("singlepoint", water, "-m", targets, "--head", "untold", "-o", tmp_path / "o")
    assert done.exit_code == 0 and "untold [K]" in done.stdout, done.output
    assert "jmp_untold" in ase.io.read(tmp_path / "o" / "results.extxyz").info


@pytest.mark.parametrize("head, key", [("phases", "jmp_phase"), ("metals", "jmp_metals")])
def test_a_class_is_written_with_the_probabilities_of_all(
    run: Run, targets: Path, folder: Path, tmp_path: Path, head: str, key: str
) -> None:
    done = run("singlepoint", folder / "a.extxyz", "-m", targets, "--head", head, "-o", tmp_path / "o")
    assert done.exit_code == 0, done.output
    images = ase.io.read(folder / "a.extxyz", ":")
    expected = jmp_calc.predict_classes(images, model=targets, head=head)
    written = ase.io.read(tmp_path / "o" / "results.extxyz", ":")
    assert tuple(str(atoms.info[key]) for atoms in written) == expected.names
    for atoms, row in zip(written, expected.probabilities, strict=True):
        assert atoms.info[f"{key}_probabilities"] == pytest.approx(
            dict(zip(expected.classes, row, strict=True)), abs=1e-6
        )
    assert f"{expected.names[0]} (probability {expected.probabilities[0].max():.3f})" in done.stdout


@pytest.mark.capability("A6")
def test_a_vector_is_written_and_labels_stay(run: Run, targets: Path, water: Path, tmp_path: Path) -> None:
    atoms = ase.io.read(water)
    atoms.info["mu"] = np.array([0.0, 0.0, 1.8])
    ase.io.write(tmp_path / "in.extxyz", atoms)
    done = run(
        "singlepoint", tmp_path / "in.extxyz", "-m", targets, "--head", "dipoles", "-o", tmp_path / "o"
    )
    assert done.exit_code == 0 and "mu [D]" in done.stdout, done.output
    (expected,) = jmp_calc.predict_vectors(atoms, model=targets, head="dipoles")
    written = ase.io.read(tmp_path / "o" / "results.extxyz")
    assert written.info["jmp_mu"] == pytest.approx(expected, abs=1e-6)
    assert written.info["mu"][2] == 1.8


def test_an_element_that_the_head_does_not_know_names_file_and_frame(
    run: Run, targets: Path, folder: Path, tmp_path: Path
) -> None:
    done = run("singlepoint", folder, "-m", targets, "--head", "dipoles", "-o", tmp_path / "o")
    assert done.exit_code == 5, done.output
    assert "a.extxyz, selected frame 1" in done.stderr and "not trained on C" in done.stderr


@pytest.mark.parametrize(
    "words", [("--properties", "energy"), ("--compile",), ("--dispersion-functional", "pbe")]
)
@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_options_of_energies_have_no_meaning_for_a_scalar(
    run: Run, targets: Path, water: Path, tmp_path: Path, words: tuple[str, ...], more: tuple[str, ...]
) -> None:
    done = run("singlepoint", water, "-m", targets, "-o", tmp_path / "o", *words, *more)
    assert done.exit_code == 2 and f"{words[0]} has no meaning here" in done.stderr, done.output


def test_a_head_that_is_not_there_lists_all(run: Run, targets: Path, water: Path, tmp_path: Path) -> None:
    done = run("singlepoint", water, "-m", targets, "--head", "gap", "-o", tmp_path / "o")
    assert done.exit_code == 5 and "did you mean 'gaps'" in done.stderr


@pytest.mark.capability("C1")
def test_files_folders_and_patterns_are_computed_one_after_the_other(
    run: Run, model: str, targets: Path, folder: Path, water: Path, tmp_path: Path
) -> None:
    for number, (path, words) in enumerate([(model, ()), (targets, ("--dtype", "float64"))]):
        out = tmp_path / f"out{number}"
        done = run("singlepoint", folder, f"{water.parent}/wat*.xyz", "-m", path, "-o", out, *words)
        assert done.exit_code == 0, done.output
        names = [f"{folder / 'a.extxyz'}", f"{folder / 'a.extxyz'}", f"{folder / 'b.cif'}", str(water)]
        written = ase.io.read(out / "results.extxyz", ":")
        assert [atoms.info["jmp_file"] for atoms in written] == names
        assert [len(atoms) for atoms in written] == [3, 6, 2, 3]
        rows = summary(out)["results"]["frames"]
        assert [(row["file"], row["frame"]) for row in rows] == list(zip(names, (0, 1, 0, 0), strict=True))
        assert [entry["n_frames"] for entry in summary(out)["inputs"]] == [2, 1, 1]
        assert f"{folder / 'a.extxyz'} 1" in done.stdout


def test_frames_are_picked_in_every_file(run: Run, model: str, folder: Path, tmp_path: Path) -> None:
    words = ("-m", model, "-o", tmp_path / "o")
    frames = f"{folder / 'a.extxyz'}@1"
    dry = run("singlepoint", frames, folder / "b.cif", f"{folder}/a*@0", "-m", model, "--dry-run")
    assert dry.exit_code == 0 and "frames: 3" in dry.stdout, dry.output
    for more in ((), ("--dry-run",)):
        done = run("singlepoint", folder / "b.cif", frames, "--index", ":", *words, *more)
        assert done.exit_code == 2 and "give one of them" in done.stderr and frames in done.stderr
    assert not (tmp_path / "o").exists()
    done = run("singlepoint", folder / "a.extxyz", folder / "b.cif", "--index", "-1", *words)
    assert done.exit_code == 0, done.output
    assert [len(atoms) for atoms in ase.io.read(tmp_path / "o" / "results.extxyz", ":")] == [6, 2]


def test_a_faulty_frame_of_a_later_file_is_named(run: Run, model: str, folder: Path, tmp_path: Path) -> None:
    atoms = molecule("H2O")
    atoms.positions[1] = atoms.positions[0]
    ase.io.write(folder / "c.extxyz", [molecule("H2O"), atoms])
    for words in ((), ("--dry-run",)):
        done = run("singlepoint", folder, "-m", model, "-o", tmp_path / "o", *words)
        assert done.exit_code == 4 and "c.extxyz, selected frame 1" in done.stderr, done.output
    assert len(ase.io.read(tmp_path / "o" / "results.extxyz", ":")) == 4, "what was computed is kept"


def test_labels_of_an_archive_stay_beside_the_results(run: Run, model: str, tmp_path: Path) -> None:
    atoms = molecule("H2O")
    forces = np.arange(9.0).reshape(1, 3, 3)
    np.savez(
        tmp_path / "a.npz",
        numbers=atoms.numbers,
        positions=[atoms.positions],
        energy=[-2079.0],
        forces=forces,
    )
    done = run("singlepoint", tmp_path / "a.npz", "-m", model, "-o", tmp_path / "o")
    assert done.exit_code == 0, done.output
    written = ase.io.read(tmp_path / "o" / "results.extxyz")
    assert written.get_potential_energy() == -2079.0 and written.get_forces() == pytest.approx(forces[0])
    assert written.info["jmp_energy"] != -2079.0 and written.arrays["jmp_forces"].shape == (3, 3)


def test_results_of_an_earlier_run_do_not_stay(
    run: Run, model: str, targets: Path, water: Path, tmp_path: Path
) -> None:
    """One frame never has the energy of one model beside the forces of another."""
    assert run("singlepoint", water, "-m", model, "-o", tmp_path / "a").exit_code == 0
    words = ("-m", targets, "--head", "energies", "--properties", "energy", "-o", tmp_path / "b")
    done = run("singlepoint", tmp_path / "a" / "results.extxyz", *words)
    assert done.exit_code == 0, done.output
    first, second = (ase.io.read(tmp_path / name / "results.extxyz") for name in "ab")
    assert second.info["jmp_energy"] != first.info["jmp_energy"]
    assert "jmp_forces" in first.arrays and "jmp_forces" not in second.arrays
    assert "jmp_energies" in first.arrays and "jmp_energies" not in second.arrays


def test_probabilities_of_an_earlier_run_do_not_stay(
    run: Run, targets: Path, water: Path, tmp_path: Path
) -> None:
    atoms = ase.io.read(water)
    atoms.info |= {"jmp_untold": "bcc", "jmp_untold_probabilities": {"bcc": 0.9}, "jmp_other": 1.0}
    ase.io.write(tmp_path / "in.extxyz", atoms)
    done = run("singlepoint", tmp_path / "in.extxyz", "-m", targets, "--head", "untold", "-o", tmp_path / "o")
    assert done.exit_code == 0, done.output
    info = ase.io.read(tmp_path / "o" / "results.extxyz").info
    assert isinstance(info["jmp_untold"], float) and "jmp_untold_probabilities" not in info
    assert info["jmp_other"] == 1.0


def test_what_names_no_file_is_told_before_anything_is_computed(
    run: Run, model: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    cases = [
        (("nothing*.xyz",), 4, "No file matches the pattern"),
        ((folder, tmp_path / "empty"), 4, "The folder has no file"),
        ((folder, tmp_path / "typo.xyz"), 4, "No such file"),
        ((folder, folder / "a.extxyz"), 2, "given twice"),
        ((f"{folder / 'a.extxyz'}@x",), 2, "not a frame index"),
        ((), 2, "No structure was given"),
        ((folder, "--struct", folder), 2, "The structure was given twice"),
    ]  # fmt: skip
    for words, code, text in cases:
        done = run("singlepoint", *words, "-m", model, "-o", tmp_path / "o")
        assert done.exit_code == code and text in done.stderr, (words, done.output)
    assert not (tmp_path / "o").exists()


def test_names_with_signs_of_an_index_are_files(run: Run, model: str, tmp_path: Path) -> None:
    (tmp_path / "run@300").mkdir()
    ase.io.write(tmp_path / "run@300" / "a@2.xyz", molecule("H2O"))
    done = run("singlepoint", f"{tmp_path}/run@300/*.xyz", "-m", model, "-o", tmp_path / "o")
    assert done.exit_code == 0, done.output


def test_a_configuration_names_one_file_or_several(
    run: Run, model: str, folder: Path, tmp_path: Path
) -> None:
    for number, struct in enumerate(
        [str(folder / "a.extxyz"), [str(folder / "b.cif"), str(folder / "a.extxyz")]]
    ):
        (tmp_path / "c.yaml").write_text(yaml.safe_dump({"struct": struct, "model": model}))
        done = run("singlepoint", "--config", tmp_path / "c.yaml", "-o", tmp_path / f"o{number}")
        assert done.exit_code == 0, done.output
        assert len(summary(tmp_path / f"o{number}")["inputs"]) == number + 1


def test_a_calculation_that_failed_is_not_blamed_on_the_properties() -> None:
    def unconverged(structures: Sequence[Atoms]) -> Sequence[Results]:
        raise SCFError("not converged")

    window = [NamedFrame(molecule("H2O"), "a.xyz", 0)]
    with pytest.raises(SCFError, match="not converged"):
        next(_up_to_a_fault(window, unconverged))
