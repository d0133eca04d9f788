"""Files that mean something else than a fast look says: each is read right, or refused by name."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule

from jmp_calc.errors import BadInputError, BadStructureError
from jmp_calc.io.charges import given_state
from jmp_calc.io.images import images
from jmp_calc.io.structures import read_frames, read_structure
from jmp_calc.training.data.label_units import LabelUnits
from jmp_calc.training.data.labels import read_labelled
from jmp_calc.unread import state_given

ROWS = "Ar 0 0 0 0.1 0 0\nAr 0 0 3 -0.1 0 0\n"
CUBE = 'Lattice="9 0 0 0 9 0 0 0 9"'


def xyz(path: Path, words: str) -> Path:
    path.write_text(f"2\n{words} Properties=species:S:1:pos:R:3:forces:R:3 energy=-1\n{ROWS}")
    return path


# ---- headers of extended XYZ -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ('cell="9 0 0 0 9 0 0 0 9"', "cell"),
        ('unit_cell="9 9 9"', "unit_cell"),
        ('Lattice_Vectors="[[9,0,0],[0,9,0],[0,0,9]]"', "Lattice_Vectors"),
        (f"{CUBE} periodic=F", "periodic"),
        (f'{CUBE} boundary="p p f"', "boundary"),
        (f'{CUBE} Lattice="8 0 0 0 8 0 0 0 8"', "Lattice"),
        (f"{CUBE} energy=-2", "energy"),
        (f"{CUBE} length_unit=bohr", "length_unit"),
        (f"{CUBE} units=atomic", "units"),
    ],
)
def test_a_header_that_says_more_than_is_read_is_refused(tmp_path: Path, words: str, key: str) -> None:
    with pytest.raises(BadInputError, match=repr(key)) as error:
        read_structure(xyz(tmp_path / "a.xyz", words))
    assert "frame 0" in str(error.value.where)


@pytest.mark.parametrize(
    "words", [f"{CUBE} cell=primitive", f'{CUBE} periodic="T T T"', f"{CUBE} units=eV", "box=1"]
)
def test_a_header_that_says_the_same_is_read(tmp_path: Path, words: str) -> None:
    assert read_structure(xyz(tmp_path / "a.xyz", words)).pbc.all() == ("Lattice" in words)


def test_flags_of_lammps_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = xyz(tmp_path / "a.xyz", f'{CUBE} pbc="p p f"')
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_structure(path).pbc.tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("unit", "declared"),
    [
        ("energy_unit=Ha", LabelUnits(energy="hartree")),
        ("units=kcal/mol", LabelUnits(energy="kcal/mol")),
        ("force_units=Ha/bohr", LabelUnits(forces="hartree/bohr")),
        ("unit_of_length=nm", LabelUnits(length="nm", forces="eV/angstrom")),
    ],
)
def test_a_unit_in_the_header_must_be_the_declared_one(
    tmp_path: Path, unit: str, declared: LabelUnits
) -> None:
    path = xyz(tmp_path / "a.xyz", unit)
    with pytest.raises(BadInputError, match="another unit"):
        read_labelled(path)
    assert len(read_labelled(path, units=declared).frames) == 1
    with pytest.raises(BadInputError, match="another unit"):  # per atom is no unit of energy
        read_labelled(xyz(path, "energy_unit=eV/atom"))


@pytest.mark.parametrize(
    ("key", "value", "refused"),
    [
        ("tot_charge", 1, True), ("REF_charge", "-1", True), ("qtot", 2.0, True), ("Q", 1, True),
        ("q", 0.3, False), ("charges", [0.1, -0.1], False), ("charge_state", "neutral", False),
        ("multiplicity", "singlet", False), ("2S+1", 3, True),
        ("unpaired", 2, True),
        ("charge_multiplicity", "0 1", False), ("charge_mult", [1, 2], True), ("net_spin", 1, True),
    ],
)  # fmt: skip
def test_charge_and_spin_in_other_spellings(key: str, value: object, refused: bool) -> None:
    assert (state_given({key: value}, np.array([8, 1, 1])) is not None) == refused


# ---- charges of other programs -----------------------------------------------------------------------------

MOL = "x\n\n\n  2  1  0\n    0.0 0.0 0.0 N   0  {0}  0\n    1.0 0.0 0.0 H   0  0  0\n"
VASPRUN = (
    '<i name="NELECT">      {0}</i><array name="atomtypes" ><set><rc><c>   2</c><c>Cu</c><c>  63.546</c>'
    "<c>  11.00000000</c><c> PAW </c></rc></set></array>"
)


@pytest.mark.parametrize(
    ("form", "text", "state"),
    [
        ("vasp-xml", VASPRUN.format("21.00000000"), {"charge": 1.0}),
        ("vasp-xml", VASPRUN.format("22.00000000"), {}),
        (
            "vasp-out",
            "ZVAL   =   11.000    mass\n ions per type =   2\n NELECT =      23.0000\n",
            {"charge": -1.0},
        ),
        ("gaussian-out", " Charge = -1 Multiplicity = 2\n", {"charge": -1, "multiplicity": 2}),
        ("orca-output", " Total Charge           Charge          ....    1\n", {"charge": 1}),
        ("espresso-in", "&SYSTEM\n  tot_charge = 1.0d0\n/\n", {"charge": 1}),
    ],
)
def test_what_other_programs_say_of_charge_and_spin(
    tmp_path: Path, form: str, text: str, state: dict[str, float]
) -> None:
    (tmp_path / "a").write_text(text)
    assert given_state(tmp_path / "a", form) == state


# ---- POSCAR ------------------------------------------------------------------------------------------------

POSCAR = "title\n1.0\n5 0 0\n0 5 0\n0 0 5\n{0}{1}\n{2}Direct\n0 0 0\n0.5 0.5 0.5\n"


@pytest.mark.parametrize("symbols", ["Cu\n", ""])
@pytest.mark.parametrize("selective", ["", "Selective dynamics\n"])
def test_a_poscar_has_as_many_rows_as_atoms(tmp_path: Path, symbols: str, selective: str) -> None:
    path = tmp_path / "POSCAR"
    flags = " T T F" if selective else ""
    title = "title" if symbols else "Cu"

    def write(count: int, after: str) -> None:
        text = POSCAR.format(symbols, count, selective).replace("title", title)
        path.write_text(text.replace("0 0 0\n0.5 0.5 0.5", f"0 0 0{flags}\n0.5 0.5 0.5{flags}") + after)

    for after in ("", "\n", "\n0.1 0 0\n0 0.1 0\n", "Cartesian\n0.1 0 0\n0 0.1 0\n"):
        write(2, after)
        assert len(read_structure(path)) == 2
    for count, after in ((1, ""), (2, f"0.2 0.2 0.2{flags}\n"), (1, "\n0 0 0\n")):
        write(count, after)
        with pytest.raises(BadInputError, match="More atoms have coordinates"):
            read_structure(path)


# ---- molfiles ----------------------------------------------------------------------------------------------

COLUMNS = "x\n\n\n  2  0  0  0  0  0  0  0  0  0999 V2000\n" + "".join(
    f"    {x:.4f}    0.0000    0.0000 {symbol:<3}{{}}  0\n" for x, symbol in ((0, "C"), (1, "H"))
)


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (MOL.format(0) + "M  CHG  1   1   1\nM  END\n", {"charge": 1}),
        (MOL.format(0) + "M  CHG  2   1   2   2  -1\nM  END\n", {"charge": 1}),
        (MOL.format(0) + "M  RAD  1   1   2\nM  END\n", {"unpaired_electrons": 1}),
        (MOL.format(0) + "M  END\nM  CHG  1   1   1\n", {}),
    ],
)
def test_charge_and_spin_of_a_molfile(tmp_path: Path, text: str, state: dict[str, float]) -> None:
    (tmp_path / "a.mol").write_text(text)
    (atoms,) = images(tmp_path / "a.mol", "mol")
    assert atoms.info == state


@pytest.mark.parametrize(
    ("text", "masses"),
    [
        (COLUMNS.format(" 0", " 0") + "M  ISO  2   1  13   2   2\n", [13, 2.014]),
        (COLUMNS.format(" 0", " 0") + "M  ISO  1   2   3\n", [12.011, 3.016]),
        (COLUMNS.format(" 2", " 0"), [14, 1.008]),
        (COLUMNS.format("-1", " 1"), [11, 2.014]),
        (COLUMNS.format(" 0", " 0").replace(" H ", " D "), [12.011, 2.014]),
        (COLUMNS.format(" 0", " 0"), [12.011, 1.008]),
    ],
)
def test_isotopes_of_a_molfile_are_masses(tmp_path: Path, text: str, masses: list[float]) -> None:
    (tmp_path / "a.mol").write_text(text + "M  END\n")
    atoms = read_structure(tmp_path / "a.mol")
    np.testing.assert_allclose(atoms.get_masses(), masses, atol=1e-3)
    assert atoms.get_chemical_formula() == "CH"


def test_all_molecules_of_an_sdf_file_are_read(tmp_path: Path) -> None:
    one, two = COLUMNS.format(" 0", " 0"), COLUMNS.format(" 0", " 0").replace(" C ", " N ")
    (tmp_path / "a.sdf").write_text(f"{one}M  ISO  1   1  13\nM  END\n> <a>\n1\n\n$$$$\n{two}M  END\n$$$$\n")
    first, second = read_frames(tmp_path / "a.sdf")
    assert first.get_masses()[0] == 13 and second.get_masses()[0] == pytest.approx(14.007)


@pytest.mark.parametrize("line", ["M  ISO  1   9  13\n", "M  ISO  1   1  -2\n", "M  ISO  1   1\n V3000"])
def test_molfiles_that_cannot_be_meant(tmp_path: Path, line: str) -> None:
    text = COLUMNS.format(" 0", " 0") if "V3000" not in line else COLUMNS.replace("V2000", "V3000")
    (tmp_path / "a.mol").write_text(text + line + "M  END\n")
    with pytest.raises(BadInputError):
        read_frames(tmp_path / "a.mol")


# ---- PDB ---------------------------------------------------------------------------------------------------

CRYST1 = "CRYST1   10.000   10.000   10.000  90.00  90.00  90.00 {0}\n"


def atom(x: float, place: str = " ", charge: str = "  ") -> str:
    return f"HETATM    1 N1  {place}MOL A   1    {x:8.3f}   0.000   0.000  1.00  0.00           N{charge}\n"


def test_later_models_of_a_pdb_file_keep_the_cell(tmp_path: Path) -> None:
    models = "".join(f"MODEL {k}\n{atom(0)}{atom(k)}ENDMDL\n" for k in (1, 2))
    (tmp_path / "a.pdb").write_text(CRYST1.format("P 1") + models + "END\n")
    first, second = read_frames(tmp_path / "a.pdb")
    assert first.pbc.all() and second.pbc.all()
    assert np.allclose(second.cell.lengths(), 10) and np.allclose(second.positions[1], [2, 0, 0])
    (tmp_path / "a.pdb").write_text("CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1\n" + models)
    assert not read_structure(tmp_path / "a.pdb").pbc.any()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (CRYST1.format("P 21 21 21") + atom(0) + "END\n", "space group is P 21 21 21"),
        (atom(0, "A") + atom(1, "B") + "END\n", "alternate locations A and B"),
        (atom(0) + atom(1), "no END"),
    ],
)
def test_pdb_files_that_say_less_than_all(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "a.pdb").write_text(text)
    with pytest.raises(BadInputError, match=word):
        read_frames(tmp_path / "a.pdb")


def test_formal_charges_of_a_pdb_file_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.pdb").write_text(atom(0, charge="2+") + atom(1, charge="1-") + "END\n")
    assert read_frames(tmp_path / "a.pdb")[0].info["charge"] == 1


# ---- CIF ---------------------------------------------------------------------------------------------------


def cif(path: Path, *blocks: str) -> Path:
    lengths = "".join(f"_cell_length_{x} 4\n" for x in "abc")
    angles = "".join(f"_cell_angle_{x} 90\n" for x in ("alpha", "beta", "gamma"))
    columns = "_atom_site_label\n" + "".join(f"_atom_site_fract_{x}\n" for x in "xyz")
    names = (f"data_{k}\n{lengths}{angles}" for k in range(len(blocks)))
    path.write_text(
        "".join(name + block.replace("@", f"loop_\n{columns}") for name, block in zip(names, blocks))
    )
    return path


SALT = "@Na1 0 0 0\nCl1 0.5 0.5 0.5\n"


@pytest.mark.parametrize(
    ("block", "word"),
    [
        ("_chemical_formula_sum 'H2 O'\n@O1 0 0 0\n", "H differ"),
        ("_chemical_formula_sum 'Na4'\n@Na1 0 0 0\nNa2 0.5 0.5 0.5\n", "Na differ"),
        ("@_atom_site_disorder_assembly\nNa1 0 0 0 A\nNa2 0.1 0 0 B\n", "assembly A, B"),
        ("@_atom_site_disorder_group\nNa1 0 0 0 -1\n", "group -1"),
        ("", "cut off"),
    ],
)
def test_cif_files_that_are_not_what_their_sites_say(tmp_path: Path, block: str, word: str) -> None:
    with pytest.raises(BadInputError, match=word):
        read_frames(cif(tmp_path / "a.cif", block))


def test_a_shared_site_is_named_in_its_own_block(tmp_path: Path) -> None:
    path = cif(tmp_path / "a.cif", "_chemical_formula_sum 'Na Cl'\n" + SALT, SALT + "K1 0 0 0\n")
    with pytest.raises(BadStructureError, match="Na.*K") as error:
        read_frames(path)
    assert "frame 1 (data_1)" in str(error.value.where)
    assert len(read_structure(f"{path}@0")) == 2


# ---- numbers that were cut ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.xyz", "POSCAR", "XDATCAR", "a.xsf"])
def test_a_file_that_ends_within_a_number_is_refused(tmp_path: Path, name: str) -> None:
    path, atoms = tmp_path / name, bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    ase.io.write(path, atoms)
    whole = path.read_text().rstrip()
    path.write_text(whole)  # a missing line break alone is none
    assert len(read_structure(path)) == 4
    path.write_text(whole[:-3])
    with pytest.raises(BadInputError, match="cut off"):
        read_structure(path)


def test_numbers_that_a_person_wrote_are_no_cut(tmp_path: Path) -> None:
    (tmp_path / "POSCAR").write_text("Cu\n1\n3 0 0\n0 3 0\n0 0 3\nCu\n2\nDirect\n0.25 0.25 0.25\n0 0 0")
    assert len(read_structure(tmp_path / "POSCAR")) == 2
    ase.io.write(tmp_path / "a.xyz", molecule("H2O"))
    assert len(read_structure(tmp_path / "a.xyz")) == 3
