"""Files that were cut short, damaged or made to exhaust the reader are refused, with the frame where there is
one.
"""

from __future__ import annotations

import gzip
import json
import os
import struct
import time
from pathlib import Path

import ase.io
import pytest
from ase.build import molecule

from jmp_calc.errors import BadInputError, JMPWarning
from jmp_calc.io.structures import read_frames, read_structure
from tests.io.silicon import LATTICE, xyz


def test_a_cut_trajectory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.traj"
    ase.io.write(path, [molecule("H2O")] * 3)
    whole = path.read_bytes()
    assert len(read_frames(path)) == 3
    for length in (len(whole) - 1, len(whole) - 200, len(whole) // 2, 60):
        path.write_bytes(whole[:length])
        with pytest.raises(BadInputError):
            read_frames(path)
    path.write_bytes(whole + b"\0" * 100)  # a killed job writes arrays first and the table last
    with pytest.raises(BadInputError, match="last frame is not complete") as error:
        read_frames(path)
    assert "--allow-truncated" in str(error.value.hint)
    assert len(read_frames(path, allow_truncated=True)) == 3


def test_arrays_larger_than_their_trajectory_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.traj"
    ase.io.write(path, molecule("H2O"))
    whole = path.read_bytes()
    huge = whole.replace(b"[[3, 3], ", b"[[9,9e8],")
    assert huge != whole
    path.write_bytes(huge)
    with pytest.raises(BadInputError):
        read_frames(path)
    path.write_bytes(whole[:32] + struct.pack("<q", 1 << 40) + whole[40:])
    with pytest.raises(BadInputError, match="outside the file"):
        read_frames(path)


def test_a_cut_vasprun_is_refused_and_an_unfinished_outcar_told(tmp_path: Path) -> None:
    path = tmp_path / "vasprun.xml"
    path.write_text('<?xml version="1.0"?>\n<modeling>\n <calculation>\n  <varray name="forces" >\n')
    with pytest.raises(BadInputError, match="last frame is not complete") as error:
        read_frames(path)
    assert "</modeling>" in error.value.fact
    path = tmp_path / "OUTCAR"
    path.write_text(" vasp.6.4.2\n POTCAR:    PAW_PBE Si\n")
    with pytest.warns(JMPWarning, match="finished job"), pytest.raises(BadInputError):
        read_frames(path)


@pytest.mark.parametrize(("name", "cut"), [("a.pdb", 30), ("a.gro", 60), ("XDATCAR", 40), ("a.sdf", 8)])
def test_cut_files_of_other_programs_are_refused(tmp_path: Path, name: str, cut: int) -> None:
    path, atoms = tmp_path / name, molecule("CH3CH2OH", vacuum=5.0)
    forms = {"a.gro": "gromacs", "XDATCAR": "vasp-xdatcar", "a.sdf": "sdf", "a.pdb": "proteindatabank"}
    atoms.pbc = True
    several = forms[name] in ("proteindatabank", "vasp-xdatcar")
    ase.io.write(path, [atoms, atoms] if several else atoms, format=forms[name])
    assert len(read_frames(path)) == 1 + several
    text = path.read_text().rstrip()
    path.write_text(text[: text.rindex("\n", 0, len(text) - cut) + 1])
    with pytest.raises(BadInputError):
        read_frames(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.xyz")
    for path, word in (
        (tmp_path / "pipe.xyz", "a named pipe"),
        ("/dev/zero", "a device"),
        ("/dev/null", "a device"),
    ):
        with pytest.raises(BadInputError, match=word):
            read_frames(path)
    for name in ("x" * 300 + ".xyz", "x" * 5000, "a\0b.xyz"):
        with pytest.raises(BadInputError, match="cannot be read"):
            read_frames(tmp_path / name)


def test_packed_files_that_hold_packed_files_or_gigabytes(tmp_path: Path) -> None:
    plain = xyz(tmp_path / "a.xyz", LATTICE).read_bytes()
    (tmp_path / "b.xyz.gz").write_bytes(gzip.compress(gzip.compress(plain)))
    (tmp_path / "b.cif.gz").write_bytes(gzip.compress(gzip.compress(plain)))
    (tmp_path / "c.xyz.gz").write_bytes(gzip.compress(b"1\n\n" + b" " * 150_000_000, 1))
    (tmp_path / "d.cif.gz").write_bytes(gzip.compress(b"#\n" * 75_000_000, 1))
    for name in ("b.xyz.gz", "b.cif.gz", "c.xyz.gz", "d.cif.gz"):
        began = time.monotonic()
        with pytest.raises(BadInputError):
            read_frames(tmp_path / name)
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("name", ["a.xyz", "a.traj", "POSCAR", "a.cif", "a.json", "a.npz", "a.pdb", "a.db"])
def test_sparse_files_are_refused_by_their_first_bytes(tmp_path: Path, name: str) -> None:
    with open(tmp_path / name, "wb") as stream:
        stream.truncate(1 << 36)
    with pytest.raises(BadInputError):
        read_frames(tmp_path / name)


@pytest.mark.parametrize(
    "count", ["9223372036854775808", "9" * 400, "9" * 10_000, "1000000000000", "-2", "0", "2.5"]
)
def test_impossible_numbers_of_atoms(tmp_path: Path, count: str) -> None:
    path = xyz(tmp_path / "a.xyz", LATTICE)
    path.write_text(path.read_text() + f"{count}\n\nSi 0 0 0\n")
    with pytest.raises(BadInputError, match="frame 1|Frame 1"):
        read_frames(path)
    (tmp_path / "POSCAR").write_text(f"c\n1\n5 0 0\n0 5 0\n0 0 5\nSi\n{count}\nDirect\n0 0 0\n")
    with pytest.raises(BadInputError):
        read_structure(tmp_path / "POSCAR")


@pytest.mark.parametrize(
    "properties",
    [
        "species:S:1:pos:R:" + "9" * 400,
        "species:S:1:pos:R:3:a:R:999999",
        "species:S:1:pos:R:0",
        "species:S:1:pos:R:-3",
        "species:S:1:pos:Q:3",
        "species:S:1",
        "pos:R:3",
        "species:S:1:pos:S:3",
        "species:S:1:pos:R:3:pos:R:3",
        "",
    ],
)
def test_damaged_columns(tmp_path: Path, properties: str) -> None:
    with pytest.raises(BadInputError):
        read_structure(xyz(tmp_path / "a.xyz", f"Properties={properties} {LATTICE}"))


def test_json_of_any_depth_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 200_000)
    (tmp_path / "b.json").write_text(json.dumps({"1": {"numbers": [10**400], "positions": [[0, 0, 0]]}}))
    for name in ("a.json", "b.json"):
        with pytest.raises(BadInputError):
            read_structure(tmp_path / name)


def test_damaged_pages_of_a_database_are_told(tmp_path: Path) -> None:
    lmdb = pytest.importorskip("lmdb")
    path = tmp_path / "a.aselmdb"
    base = lmdb.open(str(path), subdir=False, map_size=1 << 22, lock=False)
    with base.begin(write=True) as transaction:
        for i in range(300):
            transaction.put(str(i + 1).encode(), bytes(100))
    base.close()
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 + 8 : page * 4096 + 16] = b"\xa5" * 8
    path.write_bytes(data)
    with pytest.raises(BadInputError):
        read_frames(path)
