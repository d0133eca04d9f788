"""`jmp-calc singlepoint` and `jmp-calc doctor`: outputs, exit codes, and the faults of structures as users
meet."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import read, write

from jmp_calc.calculator import JMPCalculator
from jmp_calc.cli.main import cli
from jmp_calc.model.config import HeadConfig

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run a command in an empty folder; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return left.value.code, captured.out, captured.err  # type: ignore[return-value]

    yield call
    signal.signal(signal.SIGTERM, handler)


def duplicated() -> Atoms:
    atoms = molecule("CH4")
    atoms.positions[3] = atoms.positions[1]
    return atoms


def with_nan() -> Atoms:
    atoms = molecule("CH4")
    atoms.positions[2, 0] = np.nan
    return atoms


def charged() -> Atoms:
    atoms = molecule("CH4")
    atoms.info["charge"] = 1
    return atoms


FAULTS = {
    "zero atoms": (Atoms(), "zero atoms"),
    "zero cell": (Atoms("H", pbc=True), "Direction a is periodic but cell vector a is zero"),
    "zero vector": (Atoms("H", cell=[5, 0, 5], pbc=[True, True, False]), "cell vector b is zero"),
    "zero volume": (Atoms("H", cell=[[4, 0, 0], [0, 4, 0], [4, 4, 0]], pbc=True), "zero volume"),
    "nan position": (with_nan(), "position of atom 2 is not finite"),
    "nan cell": (
        Atoms("H", cell=[[np.nan, 0, 0], [0, 5, 0], [0, 0, 5]], pbc=True),
        "Cell vector a is not finite",
    ),
    "same place": (duplicated(), "Distance 0 between 1 and 3"),
    "ghost": (Atoms("HX", positions=[[0, 0, 0], [0, 0, 1]]), "Atom 1 is a ghost atom"),
    "Z 121": (Atoms(numbers=[121]), "Atom 0 has atomic number 121"),
    "charge": (charged(), "The key 'charge' is 1"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_structure_fault_leaves_with_code_4_and_names_file_and_frame(
    run: Run, model_path: Path, name: str
) -> None:
    atoms, message = FAULTS[name]
    write("bad.traj", [molecule("H2O"), atoms])
    code, _, err = run("singlepoint", "bad.traj", "-m", model_path, "--device", "cpu")
    assert code == 4, err
    assert f"error: {message}" in err or message in err
    assert "bad.traj, selected frame 1" in err
    assert yaml.safe_load(Path("jmp_results/singlepoint/summary.yaml").read_text())["exit_code"] == 4


def test_element_outside_the_head_leaves_with_code_5(run: Run, two_heads: Path) -> None:
    write("salt.extxyz", bulk("NaCl", "rocksalt", a=5.6))
    code, _, err = run("singlepoint", "salt.extxyz", "-m", two_heads, "--head", "organic", "--device", "cpu")
    assert code == 5
    assert "not trained on Na, Cl; it covers H C N O" in err


def test_stress_of_a_molecule_is_a_usage_error(run: Run, model_path: Path) -> None:
    write("water.xyz", molecule("H2O"))
    code, _, err = run("singlepoint", "water.xyz", "-m", model_path, "--properties", "energy,stress")
    assert code == 2
    assert "stress is not defined for a structure without periodic directions" in err


def test_unknown_property_lists_the_known(run: Run, model_path: Path) -> None:
    write("water.xyz", molecule("H2O"))
    code, _, err = run("singlepoint", "water.xyz", "-m", model_path, "--properties", "dipole")
    assert (code, "choose from energy, energies, forces, stress" in err) == (2, True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize(
    "device, message", [("cuda", "Device 'cuda' was asked for"), ("cuda:7", "Device 'cuda:7'")]
)
def test_device_that_is_not_there_leaves_with_code_2(
    run: Run, model_path: Path, device: str, message: str
) -> None:
    write("water.xyz", molecule("H2O"))
    code, _, err = run("singlepoint", "water.xyz", "-m", model_path, "--device", device)
    assert (code, message in err) == (2, True)


@pytest.mark.capability("A14")
def test_results_equal_the_calculator_and_labels_stay(run: Run, model_path: Path) -> None:
    labelled, plain = bulk("Cu"), molecule("CH3OH")
    labelled.rattle(0.1)
    labelled.calc = EMT()
    want = labelled.get_potential_energy()
    labelled.info["REF_energy"] = -7.0
    write("in.extxyz", [labelled, plain])
    code, out, _ = run("singlepoint", "in.extxyz", "-m", model_path, "--device", "cpu", "--dtype", "float64")
    assert code == 0
    assert "CH4O" in out
    first, second = read("jmp_results/singlepoint/results.extxyz", ":")
    calc = JMPCalculator(model_path, device="cpu", dtype="float64")
    assert first.get_potential_energy() == pytest.approx(want), "the label, not our energy"
    assert first.info["REF_energy"] == -7.0
    np.testing.assert_allclose(first.info["jmp_stress"], calc.get_stress(read("in.extxyz", 0)), atol=1e-9)
    np.testing.assert_allclose(second.arrays["jmp_forces"], calc.get_forces(second), atol=1e-7)
    np.testing.assert_allclose(second.get_forces(), second.arrays["jmp_forces"], atol=1e-12)
    assert second.info["jmp_energy"] == pytest.approx(calc.get_potential_energy(second), abs=1e-9)
    assert second.arrays["jmp_energies"].sum() == pytest.approx(second.info["jmp_energy"], abs=1e-6)
    assert "jmp_stress" not in second.info
    summary = yaml.safe_load(Path("jmp_results/singlepoint/summary.yaml").read_text())
    assert (summary["status"], summary["results"]["n_frames"]) == ("ok", 2)
    assert summary["model"]["sha256"] == calc.info.sha256
    assert summary["model"]["format_version"] == 2
    assert summary["outputs"][0]["sha256"]


def test_stresses_of_atoms_are_written_where_they_are_named(run: Run, model_path: Path) -> None:
    copper = bulk("Cu", cubic=True)
    copper.rattle(0.1, seed=1)
    write("in.extxyz", copper)
    words = ("singlepoint", "in.extxyz", "-m", model_path, "--device", "cpu", "--dtype", "float64")
    assert run(*words)[0] == 0
    assert "jmp_stresses" not in read("jmp_results/singlepoint/results.extxyz").arrays
    assert run(*words, "--properties", "energy,stress,stresses", "-o", "named")[0] == 0
    found = read("named/results.extxyz")
    np.testing.assert_allclose(found.arrays["jmp_stresses"].sum(0), found.info["jmp_stress"], atol=1e-7)
    (row,) = yaml.safe_load(Path("named/summary.yaml").read_text())["results"]["frames"]
    assert row["stresses_max_ev_per_ang3"] == pytest.approx(np.abs(found.arrays["jmp_stresses"]).max())
    write("water.xyz", molecule("H2O"))
    code, _, err = run("singlepoint", "water.xyz", *words[2:], "--properties", "stresses", "-o", "none")
    assert code == 2 and "without periodic directions" in err


def test_constraints_and_charges_are_reported_and_forces_stay_raw(run: Run, model_path: Path) -> None:
    atoms = molecule("H2O")
    atoms.rattle(0.1)
    atoms.set_constraint(FixAtoms([0, 2]))
    atoms.set_initial_charges([-0.8, 0.4, 0.4])
    write("in.traj", atoms)
    code, _, err = run("singlepoint", "in.traj", "-m", model_path, "--device", "cpu")
    assert code == 0
    assert "constraints found (FixAtoms on 2 atoms): the forces written are raw" in err
    assert "initial charges are ignored" in err
    forces = read("jmp_results/singlepoint/results.extxyz").arrays["jmp_forces"]
    assert np.abs(forces[[0, 2]]).max() > 1e-3


@pytest.mark.filterwarnings("default::jmp_calc.errors.JMPWarning")
def test_very_close_atoms_are_a_warning_in_the_summary(run: Run, model_path: Path) -> None:
    write("close.xyz", Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.25]]))
    code, _, err = run("singlepoint", "close.xyz", "-m", model_path, "--device", "cpu")
    assert code == 0
    assert "warning: Distance 0.250 Å between 0 and 1" in err
    assert (
        "below 0.3" in yaml.safe_load(Path("jmp_results/singlepoint/summary.yaml").read_text())["warnings"][0]
    )


def test_dry_run_checks_and_writes_nothing(run: Run, model_path: Path) -> None:
    write("in.extxyz", [molecule("H2O")] * 3)
    code, out, _ = run("singlepoint", "in.extxyz", "-m", model_path, "--dry-run", "--json", "--index", "1:")
    assert (code, json.loads(out)["frames"]) == (0, 2)
    assert not Path("jmp_results").exists()
    write("bad.extxyz", duplicated())
    assert run("singlepoint", "bad.extxyz", "-m", model_path, "--dry-run")[0] == 4


def test_doctor_reports_packages_device_models_and_a_calculation(run: Run, model_path: Path) -> None:
    code, out, _ = run("doctor", "-m", model_path, "--device", "cpu", "--json")
    report = json.loads(out)
    found = {finding["check"]: finding for finding in report["findings"]}
    assert code == (0 if report["ok"] else 1)
    assert f"torch {torch.__version__.split('+')[0]}" in found["packages"]["text"]
    assert found["calculation"]["state"] == "ok"
    assert {"device", "sums", "memory", "cache", "jmp-s", "jmp-l"} <= set(found)


def test_doctor_computes_with_elements_of_the_default_head(run: Run, make_model: Callable[..., Path]) -> None:
    code, out, _ = run("doctor", "--device", "cpu", "--json")
    found = {finding["check"]: finding for finding in json.loads(out)["findings"]}
    assert (code, found["calculation"]["state"]) == (0, "ok"), found["calculation"]["text"]
    silicon = make_model(heads=(HeadConfig("si", hidden=16, num_layers=2, elements=(14,)),), default="si")
    out = run("doctor", "-m", silicon, "--device", "cpu")[1]
    assert "head si: Si2 " in out and "everything works" in out


def test_doctor_names_what_fails_and_leaves_with_code_1(run: Run) -> None:
    code, out, _ = run("doctor", "-m", "no-such-model", "--device", "mps")
    assert code == 1
    assert "fail  device" in out
    assert "mps has no float64" in out
    assert "Unknown model 'no-such-model'" in out


def test_doctor_tells_of_a_broken_torch_scatter(
    run: Run, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch_scatter.py").write_text("raise OSError('undefined symbol: _ZN5torch')")
    monkeypatch.syspath_prepend(str(tmp_path))
    _, out, _ = run("doctor", "-m", model_path, "--device", "cpu")
    assert "torch-scatter is installed but broken (undefined symbol" in out
