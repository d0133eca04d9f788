"""Which files a folder stands for."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from ase.build import molecule

from jmp_calc.errors import BadInputError, JMPWarning, UsageError
from jmp_calc.io.files import find_files, find_structures

SUFFIXES = (".xyz", ".cif")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        *("a.xyz", "notes.txt", "run1/b.xyz.gz", "run2/notes.txt", ".hidden/c.xyz"),
        *("done/d.xyz", "done/summary.yaml"),
    ):
        path = tmp_path / "pool" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        molecule("H2").write(path, format="extxyz")
    return tmp_path / "pool"


def test_files_of_subfolders_are_told_of(folder: Path) -> None:
    with pytest.warns(JMPWarning, match=r"subfolders are left out \(first: .*b\.xyz\.gz\)"):
        assert find_files([folder], SUFFIXES) == (folder / "a.xyz",)


def test_the_pattern_that_is_told_finds_them(folder: Path) -> None:
    (folder / "a.xyz").unlink()
    with pytest.raises(BadInputError, match="has no file") as error:
        find_files([folder], SUFFIXES)
    assert error.value.hint is not None
    pattern = error.value.hint.split("'")[1]
    assert find_files([pattern], SUFFIXES) == (folder / "run1/b.xyz.gz",)


def test_other_folders_say_nothing(folder: Path) -> None:
    (folder / "run1/b.xyz.gz").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_files([folder], SUFFIXES) == (folder / "a.xyz",)


def test_a_file_and_its_packed_copy_do_not_count_double(tmp_path: Path) -> None:
    for name in ("a.xyz", "a.xyz.gz", "b.xyz"):
        molecule("H2").write(tmp_path / name, format="extxyz")
    for given in ([tmp_path], [tmp_path / "a*"], [tmp_path / "a.xyz", tmp_path / "a.xyz.gz"]):
        with pytest.raises(UsageError, match=r"a\.xyz and a\.xyz\.gz are a file and its packed copy"):
            find_files(given, SUFFIXES)
        with pytest.raises(UsageError, match="count double"):
            find_structures([str(path) for path in given], SUFFIXES)
    with pytest.raises(UsageError, match="count double"):
        find_structures([f"{tmp_path}/a.xyz@0", f"{tmp_path}/a.xyz.gz@0"], SUFFIXES)
    assert len(find_structures([f"{tmp_path}/a.xyz@0", f"{tmp_path}/a.xyz@1"], SUFFIXES)) == 2
