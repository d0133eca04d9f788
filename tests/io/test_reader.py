"""One reader for all commands: every file means what it says, or is refused with frame and reason."""

from __future__ import annotations

import gzip
import json
import os
import struct
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from jmp_calc.errors import BadInputError, BadStructureError, JMPWarning
from jmp_calc.io.header import parse_comment, typed_value
from jmp_calc.io.structures import pick_structure, read_frames, read_structure

LATTICE = 'Lattice="3.84 0 0 1.92 3.3255 0 1.92 1.1085 3.1353"'


def xyz(path: Path, *headers: str, first: float = 1.92) -> Path:
    """Frames of silicon with these comment lines; x of the second atom grows by 0.1 Å."""
    frames = [f"2\n{header}\nSi 0 0 0\nSi {first + 0.1 * k} 1.12 0.78\n" for k, header in enumerate(headers)]
    path.write_text("".join(frames))
    return path


# ---- headers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ('config_type= Lattice="1 2 3" a=1', {"config_type": "", "Lattice": "1 2 3", "a": "1"}),
        ('config_type="" Lattice="1"', {"config_type": "", "Lattice": "1"}),
        ("config_type= name=cu", {"config_type": "", "name": "cu"}),
        ("a= b = 2 c =3 d= 4", {"a": "", "b": "2", "c": "3", "d": "4"}),
        ('energy = -1.5 pbc = "T T F"', {"energy": "-1.5", "pbc": "T T F"}),
        ("a=[1, 2] b={3 4} c=[[1, 2], [3, 4]]", {"a": "1, 2", "b": "3 4", "c": "[1, 2], [3, 4]"}),
        ("word other=1 a=", {"word": "T", "other": "1", "a": ""}),
        (r'a="say \"no\"" b="x\\y"', {"a": 'say "no"', "b": "x\\y"}),
        ("smiles=C=O 'two words'=1", {"smiles": "C=O", "two words": "1"}),
        ('a="1"b=2', {"a": "1", "b": "2"}),
        ('a="open b=2', {"a": '"open', "b": "2"}),
        ("= 3 =", {"3": ""}),
    ],
)
def test_keys_and_values_of_a_header(line: str, right: dict[str, str]) -> None:
    assert parse_comment(line) == right


@pytest.mark.parametrize(
    "part", ['a="', "a={", "a=[", "a=['\\", '\\"', "= ", "a= ", '"', "a=\\", "{[", 'a="\\"']
)
def test_long_headers_take_time_in_proportion(part: str) -> None:
    began = time.process_time()
    parse_comment(part * (1_000_000 // len(part)))
    assert time.process_time() - began < 4


def test_numbers_of_many_digits_are_numbers() -> None:
    assert typed_value("9" * 400) == float("inf") and typed_value("9" * 6000) == float("inf")
    assert typed_value("9" * 25) == 1e25 and typed_value("T F") == [True, False]
    assert typed_value("_JSON " + "[" * 100_000) == "_JSON " + "[" * 100_000


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("T T T", "TTT"),
        ("TTT", "TTT"),
        ("t t f", "TTF"),
        ("FFF", "FFF"),
        ("ttf", "TTF"),
        ("True False True", "TFT"),
        ("TRUE,TRUE,FALSE", "TTF"),
        ("1 0 0", "TFF"),
        ("110", "TTF"),
        ("[T, T, F]", "TTF"),
        ("F", "FFF"),
        ("true", "TTT"),
    ],
)
def test_periodicity_has_one_reading(tmp_path: Path, text: str, right: str) -> None:
    atoms = read_structure(xyz(tmp_path / "a.xyz", f'{LATTICE} pbc="{text}"'))
    assert "".join("FT"[int(flag)] for flag in atoms.pbc) == right


@pytest.mark.parametrize("text", ["T T", "yes", "T T T T", "2 0 1", "TTFF", "x y z"])
def test_other_periodicity_is_refused_with_the_frame(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInputError, match="not three flags") as error:
        read_frames(xyz(tmp_path / "a.xyz", LATTICE, f'{LATTICE} pbc="{text}"'))
    assert "frame 1" in str(error.value.where)


@pytest.mark.parametrize("before", ['config_type="" ', "config_type= ", "config_type= name=si "])
def test_a_key_without_a_value_swallows_no_lattice(tmp_path: Path, before: str) -> None:
    atoms = read_structure(xyz(tmp_path / "a.xyz", f"{before}{LATTICE}"))
    assert atoms.pbc.all() and atoms.get_volume() == pytest.approx(40.04, abs=0.01)


@pytest.mark.parametrize(
    "stress", ["1 2 3 4 5 6", "1 6 5 6 2 4 5 4 3", "_JSON [[1,6,5],[6,2,4],[5,4,3]]", "_JSON [1,2,3,4,5,6]"]
)
def test_stress_of_six_or_nine_numbers(tmp_path: Path, stress: str) -> None:
    atoms = read_structure(xyz(tmp_path / "a.xyz", f'{LATTICE} stress="{stress}"'))
    np.testing.assert_array_equal(atoms.get_stress(), [1, 2, 3, 4, 5, 6])


# ---- frames ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", ["", "\n", "\n \n", "\n\n\n"])
def test_empty_lines_between_frames_lose_no_frame(tmp_path: Path, gap: str) -> None:
    whole = xyz(tmp_path / "a.xyz", *[LATTICE] * 3).read_text()
    blocks = ["2\n" + block for block in whole.split("2\n" + LATTICE)]
    assert len(blocks) == 4
    text = gap.join(f"2\n{LATTICE}\nSi 0 0 0\nSi {x} 1.12 0.78\n" for x in (1.92, 2.02, 2.12)) + gap
    (tmp_path / "b.xyz").write_text(text)
    assert [a.positions[1, 0] for a in read_frames(tmp_path / "b.xyz")] == pytest.approx([1.92, 2.02, 2.12])
    assert read_structure(f"{tmp_path / 'b.xyz'}@-1").positions[1, 0] == pytest.approx(2.12)
    assert read_structure(f"{tmp_path / 'b.xyz'}@1").positions[1, 0] == pytest.approx(2.02)


def test_which_of_the_frames_was_taken(tmp_path: Path) -> None:
    path = xyz(tmp_path / "a.xyz", *[LATTICE] * 61)
    assert str(pick_structure(path)) == "frame 60 of 61" and pick_structure(path).message
    assert str(pick_structure(f"{path}@-2")) == "frame 59 of 61"
    assert str(pick_structure(f"{path}@3")) == "frame 3"
    assert pick_structure(xyz(tmp_path / "b.xyz", LATTICE)).message is None


def test_isotopes_are_hydrogen_with_their_mass(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text("3\n\nO 0 0 0\nD 0 0 1\nt 0 1 0\n")
    atoms = read_structure(path)
    assert atoms.numbers.tolist() == [8, 1, 1]
    assert atoms.get_masses() == pytest.approx([15.999, 2.014, 3.016], abs=1e-3)
    path = tmp_path / "POSCAR"
    path.write_text("c\n1.0\n5 0 0\n0 5 0\n0 0 5\nO D\n1 1\nDirect\n0 0 0\n0.2 0 0\n")
    with pytest.raises(BadInputError, match="deuterium"):
        read_structure(path)


@pytest.mark.parametrize("symbol", ["Fe1", "O_w", "Qq", "1H", "9" * 23, "-6"])
def test_labels_are_no_elements(tmp_path: Path, symbol: str) -> None:
    (tmp_path / "a.xyz").write_text(f"2\n\nH 0 0 0\n{symbol} 0 0 1\n")
    with pytest.raises(BadInputError, match=r"Atom 1 is .* no element"):
        read_structure(tmp_path / "a.xyz")


def test_cell_vectors_behind_the_atoms(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("1\n\nCu 0 0 0\nVEC1 3 0 0\nVEC2 0 4 0\n1\n\nCu 0 0 0\n")
    first, second = read_frames(tmp_path / "a.xyz")
    assert first.pbc.tolist() == [True, True, False] and first.cell.lengths().tolist() == [3, 4, 0]
    assert not second.pbc.any()


def test_files_of_the_training_are_read_by_all(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", numbers=[8, 1], positions=np.arange(12.0).reshape(2, 2, 3))
    assert [len(atoms) for atoms in read_frames(tmp_path / "a.npz")] == [2, 2]


# ---- sites -------------------------------------------------------------------------------------------------


def cif(path: Path, rows: str, extra: str = "") -> Path:
    lengths = "".join(f"_cell_length_{x} 3.6\n" for x in "abc")
    angles = "".join(f"_cell_angle_{x} 90\n" for x in ("alpha", "beta", "gamma"))
    columns = "_atom_site_label\n_atom_site_type_symbol\n" + "".join(f"_atom_site_fract_{x}\n" for x in "xyz")
    path.write_text(
        f"data_x\n{lengths}{angles}_symmetry_space_group_name_H-M 'P 1'\nloop_\n{columns}{extra}{rows}"
    )
    return path


@pytest.mark.parametrize(
    ("extra", "rows"),
    [
        ("_atom_site_occupancy\n", "Cu1 Cu 0 0 0 0.5\nCu2 Cu 0.5 0.5 0.5 1.0\n"),
        ("_atom_site_occupancy\n", "Cu1 Cu 0 0 0 0.75(2)\n"),
        ("_atom_site_occupancy\n", "Cu1 Cu 0 0 0 0.5\nNi1 Ni 0 0 0 0.5\n"),
        ("_atom_site_occupancy\n", "Cu1 Cu 0 0 0 0.5\nCu2 Cu 0.02 0 0 0.5\n"),
        ("", "Cu1 Cu 0 0 0\nNi1 Ni 0 0 0\n"),
        ("_atom_site_disorder_group\n", "Cu1 Cu 0 0 0 1\nCu2 Cu 0.5 0.5 0.5 2\n"),
    ],
)
def test_disordered_cif_files_are_refused(tmp_path: Path, extra: str, rows: str) -> None:
    with pytest.raises(BadStructureError, match="disordered") as error:
        read_structure(cif(tmp_path / "a.cif", rows, extra))
    assert "frame 0" in str(error.value.where)


@pytest.mark.parametrize("rows", ["Cu1 Cu 0 0 0 1\n", "Cu1 Cu 0 0 0 1.000(3)\n", "Cu1 Cu 0 0 0 ?\n"])
def test_ordered_cif_files_are_read(tmp_path: Path, rows: str) -> None:
    assert len(read_structure(cif(tmp_path / "a.cif", rows, "_atom_site_occupancy\n"))) == 1


def pdb(path: Path, *atoms: tuple[str, str, str]) -> Path:
    """Frames of one atom each place; (alternate location, occupancy, element)."""
    rows = [
        f"ATOM  {k:5d}  {element:<3}{place}HOH A   1    {0.0:8.3f}{0.9 * k:8.3f}{0.0:8.3f}{share:>6}  0.00"
        f"          {element:>2}\n"
        for k, (place, share, element) in enumerate(atoms)
    ]
    path.write_text("".join(rows) + "END\n")
    return path


def test_shared_sites_of_pdb_files_are_refused(tmp_path: Path) -> None:
    for atoms in (
        [(" ", "1.00", "O"), (" ", "0.40", "H")],
        [("A", "0.50", "O"), ("B", "0.50", "O")],
        [("A", "1.00", "O"), ("B", "1.00", "O")],
        [("A", "", "O"), ("B", "", "O")],
        [(" ", "", "O"), (" ", "0.50", "H")],
    ):
        with pytest.raises(
            BadStructureError, match=r"(Atom \d has|alternate locations) .* disordered"
        ) as error:
            read_structure(pdb(tmp_path / "a.pdb", *atoms))
        assert "frame 0" in str(error.value.where)
    for share in ("1.00", "0.00", ""):
        assert len(read_structure(pdb(tmp_path / "a.pdb", ("A", share, "O"), ("A", share, "H")))) == 2


@pytest.mark.parametrize("suffix", ["traj", "extxyz"])
@pytest.mark.parametrize(
    "info",
    [
        {"occupancy": {"0": {"Fe": 0.5, "Ni": 0.5}}},
        {"occupancy": {"Fe": 0.5}},
        {"occupancy": [{"Fe": 0.5}, {"Fe": 1.0}]},
        {"site_occupancies": [1.0, 0.8]},
    ],
    ids=str,
)
def test_occupancies_of_other_programs_are_refused(tmp_path: Path, info: dict, suffix: str) -> None:
    atoms = Atoms("Fe2", [[0, 0, 0], [0, 0, 2.4]])
    atoms.info.update(info)
    ase.io.write(tmp_path / f"a.{suffix}", [Atoms("Fe"), atoms])
    with pytest.raises(BadStructureError, match="disordered") as error:
        read_structure(tmp_path / f"a.{suffix}")
    assert "frame 1" in str(error.value.where)


# ---- files that were cut short -----------------------------------------------------------------------------


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


# ---- bounds ------------------------------------------------------------------------------------------------


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


def test_crystals_of_other_programs_are_read_as_before(tmp_path: Path) -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    for name in ("a.cif", "POSCAR", "a.xsf", "a.json", "a.db", "a.traj", "a.gen"):
        ase.io.write(tmp_path / name, atoms)
        found = read_structure(tmp_path / name)
        assert found.get_volume() == pytest.approx(atoms.get_volume(), rel=1e-5)


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
