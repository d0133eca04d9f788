"""Where labelled frames come from: files, folders, patterns, structures in memory; what they may not be."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import iread, write

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.training.data.labels import read_labelled
from jmp_calc.training.data.sources import Sources, read_each, sources
from jmp_calc.training.data.split import split_frames
from tests.training.helpers.tiny import emt_atoms

READ = partial(read_labelled, require=())


def copper(energy: float = 1.0) -> Atoms:
    atoms = bulk("Cu")
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros((1, 3)))
    return atoms


def test_one_path_several_folders_and_patterns_give_files_in_order(tmp_path: Path) -> None:
    for name in ("b.xyz", "a.traj", "notes.md"):
        (tmp_path / name).write_text("x")
    (tmp_path / "odd[1].xyz").write_text("x")
    assert sources(str(tmp_path / "b.xyz")).files == (tmp_path / "b.xyz",)
    assert [path.name for path in sources(tmp_path).files] == ["a.traj", "b.xyz", "odd[1].xyz"]
    assert [path.name for path in sources(f"{tmp_path}/*.traj").files] == ["a.traj"]
    both = sources([tmp_path / "b.xyz", f"{tmp_path}/?.traj"])
    assert [path.name for path in both.files] == ["b.xyz", "a.traj"]
    assert both.name == "2 files"
    assert sources(tmp_path / "odd[1].xyz").files == (tmp_path / "odd[1].xyz",)  # a name, not a pattern
    assert not sources(None)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ([], BadInputError, "empty"),
        (["a.xyz", Atoms("H")], UsageError, "together"),
        ([3], UsageError, "int is neither"),
        ("none-*.xyz", BadInputError, "No file matches"),
        ("none.xyz", BadInputError, "No such file"),
    ],
)
def test_what_is_not_there_or_not_meant_is_refused(given: object, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        sources(given)  # type: ignore[arg-type]


def test_files_are_called_alike_however_their_paths_are_spelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The split draws the blocks of a file by its name: the settings of a run have absolute paths."""
    images = emt_atoms(40)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "run.extxyz", images, format="extxyz")
    write(tmp_path / "other.extxyz", images, format="extxyz")
    monkeypatch.chdir(tmp_path)
    spelled = (
        ["a/run.extxyz", "b/run.extxyz", "other.extxyz"],
        [tmp_path / "a/run.extxyz", tmp_path / "b/run.extxyz", tmp_path / "other.extxyz"],
        [Path("b", os.pardir, "a", "run.extxyz"), tmp_path / "b/run.extxyz", "./other.extxyz"],
    )
    splits = [split_frames(read_each(sources(given), READ).frames, 0.2) for given in spelled]
    chosen = [[(frame.source, frame.index) for frame in valid] for _, valid in splits]
    assert chosen[0] == chosen[1] == chosen[2]
    assert {source for source, _ in chosen[0]} == {"a/run.extxyz", "b/run.extxyz", "other.extxyz"}


def test_a_pipe_is_refused_before_anybody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.xyz")
    with pytest.raises(BadInputError, match="a named pipe"):
        sources(tmp_path / "pipe.xyz")


def test_an_iterator_is_refused_because_it_can_be_read_once(tmp_path: Path) -> None:
    write(tmp_path / "a.xyz", copper(), format="extxyz")
    with pytest.raises(UsageError, match="only once"):
        sources(iread(tmp_path / "a.xyz"))  # type: ignore[arg-type]


def test_structures_in_memory_read_as_the_file_that_holds_them(tmp_path: Path) -> None:
    images = emt_atoms(4)
    write(tmp_path / "a.extxyz", images, format="extxyz")
    inside, outside = read_each(Sources(structures=tuple(images)), READ), READ(tmp_path / "a.extxyz")
    for a, b in zip(inside.frames, outside.frames, strict=True):
        assert a.energy == pytest.approx(b.energy, abs=1e-7)
        assert np.allclose(a.forces, b.forces, atol=1e-7)
        assert np.allclose(a.stress, b.stress, atol=1e-7)
    assert inside.frames[2].where == "structures in memory frame 2"


def test_results_that_belong_to_another_structure_are_refused() -> None:
    """One EMT for two structures keeps the results of the last; moved atoms keep those of before."""
    shared, images = EMT(), [bulk("Cu"), bulk("Al")]
    for atoms in images:
        atoms.calc = shared
        atoms.get_potential_energy()
    with pytest.raises(BadInputError, match="belong to another structure") as caught:
        READ(images)
    assert caught.value.where == "structures in memory frame 0"
    moved = copper()
    moved.positions += 0.1
    with pytest.raises(BadInputError, match="belong to another structure"):
        READ([copper(), moved])


def test_several_files_are_one_set_whose_frames_say_where_they_are_from(tmp_path: Path) -> None:
    for folder, energy in (("a", 1.0), ("b", 2.0)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "run.extxyz", [copper(energy)] * 2, format="extxyz")
    found = read_each(sources(f"{tmp_path}/*/run.extxyz"), READ)
    assert [frame.energy for frame in found.frames] == [1.0, 1.0, 2.0, 2.0]
    assert found.frames[3].where == "b/run.extxyz frame 1"
    assert any("a/run.extxyz, b/run.extxyz: energy: key" in message for message in found.messages)


def test_files_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    for name, energy in (("a", 1.0), ("b", 1.5)):
        atom = Atoms("Cu", info={"config_type": "IsolatedAtom", "energy": energy})
        write(tmp_path / f"{name}.extxyz", [atom, copper()], format="extxyz")
    with pytest.raises(BadInputError, match="isolated atom of element 29"):
        read_each(sources(tmp_path), READ)
    for name, label in (("c", "metal"), ("d", 1.0)):
        images = [copper(), copper()]
        for atoms in images:
            atoms.info["kind"] = label
        write(tmp_path / f"{name}.extxyz", images, format="extxyz")
    with pytest.raises(BadInputError, match="is a scalar here and a class in"):
        read_each(sources([tmp_path / "c.extxyz", tmp_path / "d.extxyz"]), partial(READ, target="kind"))
