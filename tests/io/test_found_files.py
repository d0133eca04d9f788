"""Which files a folder stands for."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from ase.build import molecule

from jmp_calc.errors import BadInputError, JMPWarning
from jmp_calc.io.files import find_files

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
