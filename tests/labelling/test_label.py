"""Labels of structures: order, info, units, failures, limits, isolated atoms."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from jmp_calc.errors import ModelError, UsageError
from jmp_calc.labelling.label import LabelResult, label

EMT_NAME = "ase.calculators.emt:EMT"
MINE = "tests.labelling.teachers_in_tests"


def pool(count: int = 12) -> list[Atoms]:
    """Rattled crystals of copper and gold, with an id each."""
    frames = []
    for seed in range(count):
        atoms = bulk("Cu" if seed % 3 else "Au", cubic=bool(seed % 2))
        atoms.rattle(0.05, seed=seed)
        atoms.info = {"sample_kind": "rattled", "sample_id": f"frame-{seed}", "note": {"a": [1, 2]}}
        frames.append(atoms)
    return frames


def read(result: LabelResult) -> list[Atoms]:
    return ase.io.read(result.path, ":")


def left_out(result: LabelResult) -> list[dict[str, str]]:
    with open(result.path.with_name("left_out.csv"), encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> LabelResult:
    return label(pool(), EMT_NAME, out=tmp_path_factory.mktemp("labels"), processes=2)


def test_labels_are_those_of_the_calculator(labelled: LabelResult) -> None:
    for given, got in zip(pool(), read(labelled)):
        given.calc = EMT()
        assert got.get_potential_energy() == pytest.approx(given.get_potential_energy(), abs=1e-10)
        assert got.get_forces() == pytest.approx(given.get_forces(), abs=1e-7)
        assert got.get_stress() == pytest.approx(given.get_stress(), abs=1e-9)


def test_order_and_info_are_those_of_the_input(labelled: LabelResult) -> None:
    frames = read(labelled)
    assert [atoms.info.get("sample_id") for atoms in frames[:12]] == [f"frame-{n}" for n in range(12)]
    assert frames[0].info["note"] == {"a": [1, 2]}
    assert {atoms.info["method"] for atoms in frames} == {"emt"}
    assert all(atoms.info["method_version"].startswith("ase 3") for atoms in frames)


def test_files_and_structures_in_memory_keep_their_order(tmp_path: Path) -> None:
    metals = [bulk(element) for element in ("Cu", "Al", "Ag")]
    metals[1].write(tmp_path / "al.xyz", format="extxyz")
    given = [metals[0], tmp_path / "al.xyz", metals[2]]
    found = label(given, EMT_NAME, out=tmp_path / "out", isolated=False)
    assert [atoms.get_chemical_formula() for atoms in ase.io.read(found.path, ":")] == ["Cu", "Al", "Ag"]


def test_isolated_atoms_come_last_for_every_element(labelled: LabelResult) -> None:
    atoms = read(labelled)[12:]
    assert [str(a.symbols) for a in atoms] == ["Cu", "Au"]
    assert all(a.info["sample_kind"] == "isolated" and not a.pbc.any() for a in atoms)
    assert labelled.n_added == 2 and set(labelled.isolated) == {"Cu", "Au"}


def test_isolated_atoms_of_the_input_are_not_added_again(tmp_path: Path) -> None:
    frames = [*pool(3), Atoms("Cu")]
    result = label(frames, EMT_NAME, out=tmp_path)
    assert [str(a.symbols) for a in read(result)[3:]] == ["Cu", "Au"] and result.n_added == 1
    assert read(result)[3].info["sample_kind"] == "isolated"
    assert label(frames, EMT_NAME, out=tmp_path / "none", isolated=False).n_added == 0


def test_earlier_labels_are_replaced(tmp_path: Path) -> None:
    atoms = molecule("N2")
    atoms.calc = SinglePointCalculator(atoms, energy=5.0, forces=np.ones((2, 3)))
    atoms.info["virial"] = np.eye(3)
    (got, *_) = read(label([atoms], EMT_NAME, out=tmp_path))
    atoms.calc = EMT()
    assert got.get_potential_energy() == pytest.approx(atoms.get_potential_energy())
    assert got.get_forces() == pytest.approx(atoms.get_forces(), abs=1e-7)
    assert "virial" not in got.info and "stress" not in got.calc.results


def test_labels_of_another_method_do_not_stay_beside_the_new_ones(tmp_path: Path) -> None:
    frames = [molecule("N2"), molecule("N2")]
    frames[1].rattle(0.05)
    frames[0].info |= {"REF_energy": 5.0, "ref_virial": np.eye(3), "REF_charge": 0, "dft_gap": 1.0}
    frames[0].info["REF_dipole"] = [0.0, 0.0, 1.0]
    for atoms in frames:
        atoms.set_array("REF_forces", np.ones((2, 3)))
    result = label(frames, EMT_NAME, out=tmp_path)
    got = read(result)
    assert set(got[0].info) == {"REF_charge", "dft_gap", "method", "method_version"}
    assert "REF_forces" not in got[0].arrays and "REF_forces" not in got[1].arrays
    assert result.replaced == {"REF_dipole": 1, "REF_energy": 1, "REF_forces": 2, "ref_virial": 1}
    assert result.to_dict()["replaced"]["REF_forces"] == 2


def test_an_ion_does_not_stand_for_the_isolated_atom(tmp_path: Path) -> None:
    ion = Atoms("Cu", info={"charge": 1})
    result = label([bulk("Cu"), ion], f"{MINE}:Ionic", out=tmp_path)
    assert result.n_added == 1 and result.isolated == {"Cu": pytest.approx(1.0)}
    assert "sample_kind" not in read(result)[1].info


def test_what_goes_wrong_is_recorded_and_the_rest_goes_on(tmp_path: Path) -> None:
    elements = ["Cu", "Ni", "Au", "Pd", "Ag", "Al", "Pt", "Cu"]
    frames = [bulk(symbol) for symbol in elements]
    result = label(frames, f"{MINE}:Moody", out=tmp_path, timeout=2.0, isolated=False)
    assert [str(a.symbols) for a in read(result)] == ["Cu", "Au", "Al", "Cu"]
    rows = left_out(result)
    assert [(row["frame"], row["kind"]) for row in rows] == [
        ("1", "timeout"), ("3", "crashed"), ("4", "failed"), ("6", "failed"),
    ]  # fmt: skip
    assert "2 s" in rows[0]["reason"] and "SIGSEGV" in rows[1]["reason"]
    assert "not finite" in rows[2]["reason"] and "no self-consistency" in rows[3]["reason"]
    assert result.left_out == {"timeout": 1, "crashed": 1, "failed": 2}


def test_a_batch_that_dies_is_asked_one_by_one(tmp_path: Path) -> None:
    frames = [
        Atoms(["Ne", symbol], [[0, 0, 0], [0.3 * n, 0, 2.5]]) for n, symbol in enumerate(["Ne", "Ar"] * 4)
    ]
    log = tmp_path / "log"
    result = label(frames, f"{MINE}:Together", kwargs={"log": str(log)}, out=tmp_path, isolated=False)
    assert result.n_frames == 8 and result.facts.method == "LJ"
    assert log.read_text().split("\n")[0] == "[2, 2, 2, 2]"


def test_batches_are_sorted_by_size_and_bounded(tmp_path: Path) -> None:
    frames = [Atoms(f"Ne{n}", np.outer(np.arange(n), [0, 0, 3.0])) for n in (5, 2, 7, 2, 3, 1, 13)]
    log = tmp_path / "log"
    result = label(frames, f"{MINE}:Together", kwargs={"log": str(log)}, out=tmp_path, isolated=False)
    assert log.read_text().splitlines() == ["[1, 2, 2, 3]", "[5, 7]", "[13]"]
    assert [len(atoms) for atoms in read(result)] == [5, 2, 7, 2, 3, 1, 13]


def test_limits_leave_out_and_count(tmp_path: Path) -> None:
    frames = [Atoms("Ne2", [[0, 0, 0], [0.2 * n, 0, 1.2]]) for n in range(5)]
    calc = {"calculator": f"{MINE}:Together", "isolated": False}
    result = label(frames, out=tmp_path / "spread", max_spread=0.5, **calc)
    assert result.n_frames == 3 and result.left_out == {"spread": 2}
    assert [a.info["forces_spread"] for a in read(result)] == pytest.approx([0.0, 0.2, 0.4])
    largest = sorted(np.linalg.norm(a.get_forces(), axis=1).max() for a in read(result))
    again = {"out": tmp_path / "spread", "resume": True, "max_spread": 0.5, **calc}
    result = label(frames, max_force=1.001 * largest[1], **again)
    assert result.n_frames == 2 and result.left_out == {"spread": 2, "force": 1}


def test_elements_that_the_teacher_does_not_know_are_refused(tmp_path: Path) -> None:
    result = label([Atoms("Ne2", [[0, 0, 0], [0, 0, 3]]), molecule("H2O")], f"{MINE}:Together", out=tmp_path)
    assert result.n_frames == 1 and result.left_out == {"refused": 1}
    assert "does not know H, O" in left_out(result)[0]["reason"]


def test_crystals_are_refused_by_a_teacher_of_molecules(tmp_path: Path) -> None:
    frames = [bulk("Ne", "fcc", a=4.4), Atoms("Ne2", [[0, 0, 0], [0, 0, 3]])]
    result = label(frames, f"{MINE}:Together", out=tmp_path)
    assert result.n_frames == 1 and "molecules only" in left_out(result)[0]["reason"]


def test_each_process_has_its_own_folder_for_files(tmp_path: Path) -> None:
    label(pool(2), f"{MINE}:Writing", out=tmp_path)
    assert (tmp_path / "scratch" / "worker-0" / "INCAR").is_file()
    chosen = {"kwargs": {"directory": str(tmp_path / "mine")}}
    label(pool(2), f"{MINE}:Writing", out=tmp_path / "other", **chosen)
    assert (tmp_path / "mine" / "worker-0" / "INCAR").is_file()


@pytest.mark.parametrize(
    "info",
    [
        {"charge": 1},
        {"total_charge": -1.0},
        {"spin": 3},
        {"multiplicity": 3},
        {"charge": "x"},
        {"charge": float("nan")},
        {"charge": "-inf"},
        {"total_spin": "x"},
    ],
    ids=str,
)
def test_charge_and_spin_that_nobody_reads_are_refused(tmp_path: Path, info: dict[str, Any]) -> None:
    frames = [molecule("N2"), molecule("N2")]
    frames[1].info = info
    result = label(frames, EMT_NAME, out=tmp_path, isolated=False)
    assert result.n_frames == 1 and result.left_out == {"refused": 1}


def test_nothing_labelled_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="None of the 1 structures has labels") as caught:
        label([molecule("H2O")], f"{MINE}:Together", out=tmp_path)
    assert "does not know" in str(caught.value.hint)


def test_isolated_atoms_alone_are_no_labels_of_the_input(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="None of the 3 structures has labels"):
        label([molecule("N2") for _ in range(3)], EMT_NAME, out=tmp_path, max_force=1e-9)


def test_who_labelled_is_written_beside_the_frames(labelled: LabelResult) -> None:
    record = yaml.safe_load(labelled.path.with_name("teacher.yaml").read_text())
    assert record["calculator"] == EMT_NAME and record["method"] == "emt"


@pytest.mark.parametrize(
    ("calculator", "kwargs", "match"),
    [
        ("no.such.module:EMT", {}, "no module"),
        ("ase.calculators.emt:NOT", {}, "has no factory"),
        (f"{MINE}:no_calculator", {}, "no ASE calculator"),
        (f"{MINE}:Together", {"kwargs": {"wrong": 1}}, "cannot be called"),
        ("tblitt", {}, "tblitt"),
        (EMT_NAME, {"head": "pbe"}, "no head"),
        ("ani2x", {}, "no weights"),
        ("nequix", {"weights": "nowhere.nqx"}, "no weights at this path"),
        (EMT_NAME, {"timeout": 0.0}, "timeout"),
        (EMT_NAME, {"max_force": float("nan")}, "max_force"),
        (EMT_NAME, {"python": "/no/such/python"}, "cannot be started"),
    ],
)
def test_what_cannot_be_asked_is_said(tmp_path: Path, calculator: str, kwargs: Any, match: str) -> None:
    with pytest.raises((UsageError, ModelError), match=match):
        label([bulk("Cu")], calculator, out=tmp_path, **kwargs)
