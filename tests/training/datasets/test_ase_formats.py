"""ASE's own formats give the same frames, whichever was written; .aselmdb without the package that writes
it."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.db import connect
from ase.io import write
from ase.io.jsonio import encode

from jmp_calc.errors import BadInputError
from jmp_calc.training.data.frame import LabelledSet
from jmp_calc.training.data.labels import read_labelled
from tests.extras import reason

lmdb = pytest.importorskip("lmdb", reason=reason("data"))


def images() -> list[Atoms]:
    """Three cells with energy, forces, stress and tags; one atom is fixed and feels a force all the same."""
    rng = np.random.default_rng(0)
    made = []
    for i in range(3):
        atoms = Atoms(
            "CuOH",
            rng.normal(size=(3, 3)) + np.arange(3)[:, None] * 2,
            cell=7 * np.eye(3),
            pbc=True,
            tags=[0, 1, 2],
        )
        atoms.set_constraint(FixAtoms([0]))
        atoms.calc = SinglePointCalculator(
            atoms, energy=-10.0 - i, forces=rng.normal(size=(3, 3)), stress=0.01 * rng.normal(size=6)
        )
        made.append(atoms)
    return made


def write_aselmdb(path: Path, atoms: list[Atoms]) -> None:
    """The layout: packed JSON rows under 1 ... n, a deleted row, and the reserved keys."""
    environment = lmdb.open(str(path), subdir=False, map_size=1 << 24)
    with environment.begin(write=True) as transaction:

        def put(key: str, value: object) -> None:
            transaction.put(key.encode(), zlib.compress(encode(value).encode()))

        for i, image in enumerate(atoms):
            results = image.calc.results
            put(
                str(i + 1 if i < 1 else i + 2),
                {  # row 2 was deleted
                    "numbers": image.numbers,
                    "positions": image.positions,
                    "cell": image.cell.array,
                    "pbc": image.pbc,
                    "tags": image.get_tags(),
                    "unique_id": f"{i}",
                    "ctime": 1.0,
                    "mtime": 1.0,
                    "user": None,
                    "energy": results["energy"],
                    "forces": results["forces"],
                    "stress": results["stress"],
                    "calculator": "unknown",
                    "calculator_parameters": {},
                    "constraints": [{"name": "FixAtoms", "kwargs": {"indices": [0]}}],
                    "key_value_pairs": {"config_type": f"kind{i}"},
                    "data": {"other_forces": np.zeros((3, 3))},
                },
            )
        put("nextid", len(atoms) + 2)
        put("deleted_ids", [2])
    environment.close()


def check(found: LabelledSet) -> None:
    for frame, atoms in zip(found.frames, images(), strict=True):
        assert frame.numbers.tolist() == [29, 8, 1]
        assert np.allclose(frame.positions, atoms.positions, atol=1e-7)
        assert frame.energy == pytest.approx(atoms.calc.results["energy"])
        assert np.allclose(frame.forces, atoms.calc.results["forces"], atol=1e-7)  # the fixed atom's too
        assert frame.stress is not None
        assert np.allclose(
            frame.stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], atoms.calc.results["stress"], atol=1e-7
        )
        assert frame.tags is not None and frame.tags.tolist() == [0, 1, 2]
        assert frame.pbc.all()


@pytest.mark.parametrize("suffix", ["extxyz", "traj", "aselmdb"])
def test_the_same_frames_from_every_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"frames.{suffix}"
    if suffix == "aselmdb":
        write_aselmdb(path, images())
    else:
        write(path, images())
    check(read_labelled(path))


def test_rows_of_an_ase_database(tmp_path: Path) -> None:
    with connect(tmp_path / "frames.db") as database:
        for atoms in images():
            database.write(atoms)
    check(read_labelled(tmp_path / "frames.db"))


def test_files_of_the_package_that_writes_aselmdb(tmp_path: Path) -> None:
    pytest.importorskip("ase_db_backends")
    with connect(str(tmp_path / "frames.aselmdb"), type="aselmdb") as database:
        for atoms in images():
            database.write(atoms, config_type="a", data={"more": [1, 2]})
    found = read_labelled(tmp_path / "frames.aselmdb")
    check(found)
    assert {frame.group for frame in found.frames} == {"a"}


def test_selection_and_groups_of_aselmdb(tmp_path: Path) -> None:
    write_aselmdb(tmp_path / "frames.aselmdb", images())
    found = read_labelled(tmp_path / "frames.aselmdb", index="1:")
    assert [(frame.index, frame.group) for frame in found.frames] == [(1, "kind1"), (2, "kind2")]


def test_damaged_aselmdb_names_the_row(tmp_path: Path) -> None:
    path = tmp_path / "frames.aselmdb"
    write_aselmdb(path, images())
    with lmdb.open(str(path), subdir=False, map_size=1 << 24) as file, file.begin(write=True) as transaction:
        transaction.put(b"3", b"no row")
    with pytest.raises(BadInputError, match="The row cannot be read") as caught:
        read_labelled(path)
    assert "frames.aselmdb row 3" in str(caught.value)
    other = tmp_path / "other.aselmdb"
    with lmdb.open(str(other), subdir=False, map_size=1 << 24) as file, file.begin(write=True) as transaction:
        transaction.put(b"1", zlib.compress(b'{"positions": [[0, 0, 0]]}'))
    with pytest.raises(BadInputError, match="The row has no structure"):
        read_labelled(other)
    nothing = tmp_path / "nothing.aselmdb"
    with (
        lmdb.open(str(nothing), subdir=False, map_size=1 << 24) as file,
        file.begin(write=True) as transaction,
    ):
        transaction.put(b"length", b"3")
    with pytest.raises(BadInputError, match="no ASE database"):
        read_labelled(nothing)
    nothing.write_bytes(b"text")
    with pytest.raises(BadInputError, match="not a readable LMDB file"):
        read_labelled(nothing)
