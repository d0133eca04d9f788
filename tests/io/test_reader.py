"""One reader for all commands: every frame and site means what it says, or is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from jmp_calc.errors import BadInputError, BadStructureError
from jmp_calc.io.structures import pick_structure, read_frames, read_structure
from tests.io.silicon import LATTICE, xyz

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


@pytest.mark.parametrize(
    "column, values, said",
    [
        ("masses:R:3", "1 2 3", "'masses' has 3 numbers for each atom, not 1"),
        ("masses:S:1", "heavy", "'masses' has 'heavy', which is no number"),
        ("masses:R:1", "nan", "'masses' has numbers that are not finite"),
        ("tags:R:3", "0 1 2", "'tags' has 3 numbers"),
        ("tags:S:1", "slab", "'tags' has 'slab'"),
        ("tags:R:1", "1.5", "'tags' has numbers that are not whole"),
        ("momenta:R:1", "1", "'momenta' has 1 numbers for each atom, not 3"),
        ("initial_magmoms:R:2", "1 2", "'initial_magmoms' has 2 numbers for each atom, not 1 or 3"),
        ("forces:R:1", "1", "'forces' has 1 numbers"),
        ("forces:S:3", "a b c", "'forces' has 'a'"),
        ("charge:S:1", "plus", "'charges' has 'plus'"),
        ("move_mask:S:1", "free", "'move_mask' has 'free'"),
        ("move_mask:R:2", "0 1", "'move_mask' has 2 numbers for each atom, not 1 or 3"),
    ],
)
def test_columns_are_what_they_are_called(tmp_path: Path, column: str, values: str, said: str) -> None:
    path = tmp_path / "a.extxyz"
    path.write_text(f"2\nProperties=species:S:1:pos:R:3:{column}\nH 0 0 0 {values}\nH 0 0 1 {values}\n")
    with pytest.raises(BadInputError, match=said) as error:
        read_structure(path)
    assert "frame 0" in str(error.value.where)


def test_columns_that_are_right_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.extxyz"
    columns = "masses:R:1:tags:R:1:initial_magmoms:R:3:note:S:1"
    path.write_text(f"1\nProperties=species:S:1:pos:R:3:{columns}\nH 0 0 0 2.0 1 0 0 1 x\n")
    atoms = read_structure(path)
    assert atoms.get_masses() == [2.0] and atoms.get_tags().tolist() == [1]
    assert atoms.get_initial_magnetic_moments().tolist() == [[0, 0, 1]] and atoms.arrays["note"] == ["x"]


def test_an_energy_is_one_number(tmp_path: Path) -> None:
    (tmp_path / "a.extxyz").write_text('1\nenergy="1 2"\nH 0 0 0\n')
    with pytest.raises(BadInputError, match=r"energy has shape \(2,\), not one number"):
        read_structure(tmp_path / "a.extxyz")


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


def test_atomic_numbers_of_archives_are_whole_and_their_padding_is_0_or_minus_1(tmp_path: Path) -> None:
    """6.9 was read as carbon, and atoms of negative numbers were left out as padding."""
    places = np.arange(9.0).reshape(1, 3, 3)
    for wrong in (6.9, -8.0):
        np.savez(tmp_path / "a.npz", numbers=[8.0, wrong, 1.0], positions=places)
        with pytest.raises(BadInputError, match=f"{wrong:g} is no atomic number"):
            read_frames(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", numbers=[[8, 1, -1]], positions=places, cell=np.zeros((3, 3)))
    (hydroxyl,) = read_frames(tmp_path / "b.npz")
    assert hydroxyl.symbols.get_chemical_formula() == "HO" and not hydroxyl.pbc.any()


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


def test_crystals_of_other_programs_are_read_as_before(tmp_path: Path) -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    for name in ("a.cif", "POSCAR", "a.xsf", "a.json", "a.db", "a.traj", "a.gen"):
        ase.io.write(tmp_path / name, atoms)
        found = read_structure(tmp_path / name)
        assert found.get_volume() == pytest.approx(atoms.get_volume(), rel=1e-5)
