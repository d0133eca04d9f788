"""From labelled files and data sets to record sets: the frames that the readers give, streamed, screened and
counted."""

from __future__ import annotations

import gzip
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.training.data.keys import LabelKeys
from jmp_calc.training.data.label_units import LabelUnits
from jmp_calc.training.data.labels import read_labelled
from jmp_calc.training.data.screen import Screen, find_fault
from jmp_calc.training.data.sources import find_files
from jmp_calc.training.data.stream import LabelOptions, stream_labelled
from jmp_calc.training.datasets.export import export
from jmp_calc.training.records.preprocess import DataSetInput, FileInputs, data_set, preprocess
from jmp_calc.training.records.record_set import RecordSet
from jmp_calc.training.records.shares import Progress
from tests.training.helpers.hdf5_layouts import write_ani1x, write_transition1x
from tests.training.helpers.layouts import write_rmd17
from tests.training.helpers.oc_layouts import record, write_lmdb
from tests.training.helpers.tiny import emt_atoms, emt_file


def quiet(text: str) -> None:
    pass


def labelled(name: str, seed: int) -> Atoms:
    atoms = molecule(name)
    atoms.rattle(0.05, seed=seed)
    forces = np.random.default_rng(seed).normal(size=(len(atoms), 3))
    atoms.calc = SinglePointCalculator(
        atoms, energy=-10.0 * float(atoms.numbers.sum()) - 0.1 * seed, forces=forces
    )
    return atoms


def files(folder: Path, *paths: Path, workers: int = 1, **labels: object) -> RecordSet:
    return preprocess(FileInputs(paths, LabelOptions(**labels)), folder, workers=workers, say=quiet)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a.extxyz", "a.traj", "a.db", "a.extxyz.gz"])
def test_records_are_what_the_readers_give(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write(tmp_path / name.removesuffix(".gz"), emt_atoms(5))
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress((tmp_path / "a.extxyz").read_bytes()))
    records, expected = files(tmp_path / "set", path), read_labelled(path).frames
    assert len(records) == len(expected) == 5
    for found, frame in zip(records, expected, strict=True):
        assert np.array_equal(found.numbers, frame.numbers)
        assert np.array_equal(found.cell, frame.cell)
        assert found.where == frame.where
        assert found.group == frame.group
        assert found.energy == frame.energy
        assert np.allclose(found.positions, frame.positions, atol=1e-6)
        assert np.allclose(found.forces, frame.forces, atol=1e-5)
        assert np.allclose(found.stress, frame.stress, atol=1e-7)
    assert [source.path for source in records.info.sources] == [str(path)]


def test_processes_give_the_same_set_as_one(tmp_path: Path) -> None:
    paths = tuple(emt_file(tmp_path / f"{i}.extxyz", 3 + i, seed=i) for i in range(4))
    one, two = files(tmp_path / "one", *paths), files(tmp_path / "two", *paths, workers=2)
    assert len(two.info.shards) == 2
    assert [frame.where for frame in two] == [frame.where for frame in one]
    assert [frame.energy for frame in two] == [frame.energy for frame in one]
    assert two.statistics.energy_std == pytest.approx(one.statistics.energy_std, rel=1e-9)


def test_an_error_in_a_process_names_the_frame_and_leaves_nothing(tmp_path: Path) -> None:
    good, bad = emt_file(tmp_path / "good.extxyz", 4), emt_file(tmp_path / "bad.extxyz", 4)
    bad.write_text(bad.read_text().replace("energy=", "nothing=", 1))
    with pytest.raises(BadInputError, match=r"no energy.*bad.extxyz frame 0"):
        files(tmp_path / "set", good, bad, workers=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.extxyz", "good.extxyz"]


def test_small_and_bad_frames_are_counted(tmp_path: Path) -> None:
    frames = [labelled(name, i) for i, name in enumerate(("CH4", "H2O", "CH3OH", "C6H6", "CH4", "CH4"))]
    frames[2].calc.results["energy"] = np.nan
    frames[3].calc.results["forces"][0, 0] = 5000.0
    del frames[4].calc.results["forces"]
    lone = Atoms("H")
    lone.calc = SinglePointCalculator(lone, energy=-13.6, forces=np.zeros((1, 3)))
    path = tmp_path / "mixed.extxyz"
    write(path, [*frames, lone])
    said: list[str] = []
    records = preprocess(FileInputs((path,)), tmp_path / "set", min_atoms=4, on_bad="skip", say=said.append)
    assert [frame.index for frame in records] == [0, 5]
    assert records.info.min_atoms == 4
    assert records.info.left_out == {
        "few atoms": 1,
        "energy not finite": 1,
        "large force": 1,
        "without forces": 1,
        "isolated atoms": 1,
    }
    assert "5 frames left out" in said[-1]
    with pytest.raises(BadInputError, match="energy"):
        preprocess(FileInputs((path,)), tmp_path / "other", say=quiet)
    assert not (tmp_path / "other").exists()


def test_labels_that_no_record_can_hold_are_named_or_counted(tmp_path: Path) -> None:
    frames = emt_atoms(5)
    frames[1].calc.results["stress"] = np.full(6, np.nan)
    for atoms, tag in zip(frames, (1, 1, 40_000, 1, 1), strict=True):
        atoms.set_tags([tag] * 4)
        atoms.calc = SinglePointCalculator(atoms, **atoms.calc.results)
    write(tmp_path / "a.extxyz", frames)
    inputs = FileInputs((tmp_path / "a.extxyz",))
    with pytest.raises(BadInputError, match="The stress is not finite.*a.extxyz frame 1.*--on-bad skip"):
        preprocess(inputs, tmp_path / "set", say=quiet)
    write(tmp_path / "b.extxyz", frames[2])
    with pytest.raises(BadInputError, match="of the tags does not fit into a record.*b.extxyz frame 0"):
        preprocess(FileInputs((tmp_path / "b.extxyz",)), tmp_path / "set", say=quiet)
    records = preprocess(inputs, tmp_path / "set", on_bad="skip", say=quiet)
    assert [frame.index for frame in records] == [0, 3, 4]
    assert records.info.left_out == {"stress not finite": 1, "does not fit into a record": 1}


def test_faults_of_stress_and_vectors_are_found(tmp_path: Path) -> None:
    frame = read_labelled(emt_atoms(1)).frames[0]
    assert find_fault(frame) is None
    for changes, fault in (
        ({"stress": np.full((3, 3), np.inf)}, ("stress not finite", "The stress is not finite.")),
        ({"stress": np.zeros(6)}, ("shape", "The stress has shape (6,), not (3, 3).")),
        ({"tags": np.zeros(3, int)}, ("shape", "The column tags has shape (3,) for 4 atoms.")),
        (
            {"vectors": {"dipole": np.array([0, np.nan, 0])}},
            ("dipole not finite", "The target dipole is [ 0. nan  0.]."),
        ),
    ):
        assert find_fault(replace(frame, **changes)) == fault  # type: ignore[arg-type]


def test_label_that_changes_its_key_within_a_file_is_an_error(tmp_path: Path) -> None:
    frames = [labelled("CH4", i) for i in range(300)]
    path = tmp_path / "a.extxyz"
    write(path, frames)
    text = path.read_text().replace(" energy=", " REF_energy=")
    lines = text.splitlines(keepends=True)
    first = "".join(lines[: 7 * 280]).replace(" REF_energy=", " energy=")
    path.write_text(first + "".join(lines[7 * 280 :]))
    with pytest.raises(BadInputError, match="REF_energy.*--energy-key"):
        files(tmp_path / "set", path)
    records = files(tmp_path / "set", path, keys=LabelKeys(energy="energy"), require=("forces",))
    assert (len(records), records.statistics.n_energy) == (300, 280)


def test_streaming_reads_no_further_than_it_must(tmp_path: Path) -> None:
    path = tmp_path / "a.extxyz"
    write(path, [labelled("CH4", i) for i in range(600)])
    path.write_text(path.read_text() + "garbage\n")
    stream = stream_labelled(path, LabelOptions(), Screen())
    assert [next(stream).index for _ in range(10)] == list(range(10))
    with pytest.raises(BadInputError, match="frame 600"):
        list(stream)


def test_truncated_end_is_an_error_unless_allowed(tmp_path: Path) -> None:
    path = emt_file(tmp_path / "a.extxyz", 4)
    path.write_text(path.read_text()[:-30])
    with pytest.raises(BadInputError, match="cut off"):
        files(tmp_path / "set", path)
    assert len(files(tmp_path / "set", path, allow_truncated=True)) == 3


def test_scalar_target_instead_of_energies(tmp_path: Path) -> None:
    frames = [labelled("CH4", i) for i in range(3)]
    for i, atoms in enumerate(frames[:2]):
        atoms.info["gap"] = 1.5 + i
    write(tmp_path / "a.extxyz", frames)
    with pytest.raises(BadInputError, match="no gap"):
        files(tmp_path / "set", tmp_path / "a.extxyz", target="gap")
    records = preprocess(
        FileInputs((tmp_path / "a.extxyz",), LabelOptions(target="gap")),
        tmp_path / "set",
        on_bad="skip",
        say=quiet,
    )
    assert [frame.targets for frame in records] == [{"gap": 1.5}, {"gap": 2.5}]
    assert records.statistics.n_energy == 0


def test_units_are_converted(tmp_path: Path) -> None:
    path = emt_file(tmp_path / "a.extxyz", 2)
    plain = files(tmp_path / "one", path)
    scaled = files(tmp_path / "two", path, units=LabelUnits(energy="hartree"))
    assert scaled[0].energy == pytest.approx(27.211386245988 * (plain[0].energy or 0.0))


@pytest.mark.parametrize("workers", [1, 3])
def test_part_of_a_data_set(tmp_path: Path, workers: int) -> None:
    write_ani1x(tmp_path / "ani1x-release.h5")
    with pytest.raises(BadInputError):  # too few conformers for the published split
        preprocess(DataSetInput("ani1x", "train", tmp_path), tmp_path / "set", say=quiet)
    folder = tmp_path / "rmd17"
    folder.mkdir()
    write_rmd17(folder, "aspirin", 30)
    data = DataSetInput("rmd17", "aspirin", folder)
    records = preprocess(data, tmp_path / "set", workers=workers, say=quiet)
    assert [frame.index for frame in records] == list(range(30))
    assert len(records.info.shards) == workers
    assert records.info.sources[0].path.endswith(".npz")


def test_open_catalyst_records_keep_tags_fixed_atoms_and_names(tmp_path: Path) -> None:
    folder = tmp_path / "train"
    folder.mkdir()
    write_lmdb(folder / "data.0000.lmdb", [record(i, new_layout=True, oc22=1) for i in range(4)])
    records = preprocess(data_set("oc22", None, tmp_path, "all", None), tmp_path / "set", say=quiet)
    assert len(records) == 4
    assert records[0].tags is not None
    assert set(records[0].tags.tolist()) == {0, 1, 2}
    assert records[0].fixed is not None
    assert records[0].fixed.tolist()[:3] == [True, True, False]
    assert (records[0].identifier or "").startswith("random")
    assert records[0].pbc.all()
    data = (folder / "data.0000.lmdb").read_bytes()
    (folder / "data.0000.lmdb").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadInputError, match="cut off"):
        preprocess(data_set("oc22", "train", tmp_path, "all", None), tmp_path / "other", say=quiet)


def test_odd_damage_of_a_data_set_is_a_sentence(tmp_path: Path) -> None:
    """No reader expects letters for atomic numbers."""
    write_transition1x(path := tmp_path / "Transition1x.h5")
    with h5py.File(path, "a") as file:
        for formula in file["train"].values():
            for reaction in formula.values():
                del reaction["atomic_numbers"]
                count = reaction["positions"].shape[1]
                reaction["atomic_numbers"] = np.array([b"C"] * count)
    words = "Transition1x.h5 cannot be read: ValueError"
    with pytest.raises(BadInputError, match=words):
        preprocess(data_set("transition1x", "train", tmp_path, "all", None), tmp_path / "set", say=quiet)
    with pytest.raises(BadInputError, match=words):
        export("transition1x", "train", tmp_path, tmp_path / "out.extxyz")
    assert [path.name for path in tmp_path.iterdir()] == ["Transition1x.h5"]


def test_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.extxyz", "a.traj", "c.xyz.gz", "README.txt", "notes.md"):
        (tmp_path / name).write_text("x")
    assert [path.name for path in find_files([tmp_path])] == ["a.traj", "b.extxyz", "c.xyz.gz"]
    assert [path.name for path in find_files([tmp_path / "README.txt"])] == ["README.txt"]
    with pytest.raises(UsageError, match="twice"):
        find_files([tmp_path, tmp_path / "b.extxyz"])
    with pytest.raises(BadInputError, match="No such file"):
        find_files([tmp_path / "none.xyz"])
    (tmp_path / "x.lmdb").write_bytes(b"")
    with pytest.raises(BadInputError, match="--dataset oc20"):
        find_files([tmp_path / "x.lmdb"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="no file"):
        find_files([tmp_path / "empty"])
    made = files(tmp_path / "set", emt_file(tmp_path / "d.extxyz", 2))
    with pytest.raises(BadInputError, match="record set already"):
        find_files([made.path])


def test_files_are_divided_by_bytes_in_order(tmp_path: Path) -> None:
    paths = []
    for i, size in enumerate((10, 10, 50, 10, 10, 10)):
        paths.append(tmp_path / f"{i}.xyz")
        paths[-1].write_bytes(b"x" * size)
    inputs = FileInputs(tuple(paths))
    for count in (1, 2, 3, 10):
        shares = inputs.shares(count)
        assert len(shares) <= count
        assert [path for share in shares for path in share.paths] == paths  # type: ignore[attr-defined]


def test_progress_tells_rate_and_time_left() -> None:
    progress = Progress(quiet)
    progress.start(2)
    progress._began -= 10.0  # ten seconds ago
    progress.update(0, 600, 0.5)
    assert progress.line().startswith("600 frames, 60 frames/s, 0:")
    assert progress.line().endswith("0:30 left")
    progress.update(1, 400, 0.5)
    assert progress.line().endswith("0:10 left")
    progress.update(1, 500, None)
    assert "left" not in progress.line()


def test_hash_of_a_source_is_that_of_the_file(tmp_path: Path) -> None:
    import hashlib

    path = emt_file(tmp_path / "a.extxyz", 2)
    (source,) = files(tmp_path / "set", path).info.sources
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert source.bytes == path.stat().st_size
    shutil.move(tmp_path / "set", tmp_path / "elsewhere")
    assert len(RecordSet(tmp_path / "elsewhere")) == 2


def test_screen_counts_travel_with_the_set(tmp_path: Path) -> None:
    paths = tuple(tmp_path / f"{i}.extxyz" for i in range(2))
    for path in paths:
        write(path, [labelled("H2O", 1), labelled("CH4", 2)])
    records = preprocess(FileInputs(paths), tmp_path / "set", min_atoms=4, workers=2, say=quiet)
    assert Counter(records.info.left_out) == Counter({"few atoms": 2})
