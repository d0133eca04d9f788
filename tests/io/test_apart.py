"""ASE's readers in a process of their own: the same structures, and an end for what has none."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from jmp_calc.errors import BadInputError, BadStructureError
from jmp_calc.io import apart
from jmp_calc.io.apart import images_apart
from jmp_calc.io.ase_files import ase_frames
from jmp_calc.io.images import images


def test_both_ways_give_the_same_structures_and_errors(tmp_path: Path) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.set_constraint(FixAtoms([0]))
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.ones((4, 3)))
    ase.io.write(tmp_path / "a.json", [atoms, molecule("H2O")])
    here, there = (list(read(tmp_path / "a.json", "json")) for read in (images, images_apart))
    assert here == there and here[0].constraints[0].index.tolist() == there[0].constraints[0].index.tolist()
    assert there[0].calc.results["energy"] == -1.0
    (tmp_path / "b.json").write_text("[1, 2]")
    for read in (images, images_apart):
        with pytest.raises(Exception, match="JSON"):  # whatever ASE makes of it, the same
            list(read(tmp_path / "b.json", "json"))
    assert next(images_apart(tmp_path / "a.json", "json")) == here[0]  # the rest is not waited for


def test_a_site_that_is_shared_is_named_from_there_too(tmp_path: Path) -> None:
    rows = "HETATM    1 N1  {0}MOL A   1       0.000   0.000   0.000  1.00  0.00           N\n"
    (tmp_path / "a.pdb").write_text("REMARK\n" * 12000 + rows.format("A") + rows.format("B") + "END\n")
    with pytest.raises(BadStructureError, match="alternate") as error:
        list(ase_frames(tmp_path / "a.pdb", slice(None)))
    assert "a.pdb, frame 0" in str(error.value.where)


def test_a_reader_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ase.io.write(tmp_path / "a.nwi", molecule("H2O"), format="nwchem-in")
    text = (tmp_path / "a.nwi").read_text()
    (tmp_path / "a.nwi").write_text(text[: text.index("geometry") + 20])  # ASE waits for its end
    monkeypatch.setattr(apart, "SECONDS", 1)
    start = time.process_time()
    with pytest.raises(BadInputError):
        list(ase_frames(tmp_path / "a.nwi", slice(None)))
    assert time.process_time() - start < 2


def test_a_small_file_with_many_images_is_not_expanded_here(tmp_path: Path) -> None:
    cell = "".join(f"_cell_length_{x} 40\n" for x in "abc")
    cell += "".join(f"_cell_angle_{x} 90\n" for x in ("alpha", "beta", "gamma"))
    columns = "_atom_site_label\n" + "".join(f"_atom_site_fract_{x}\n" for x in "xyz")
    rows = "".join(f"Na{k} 0.{k:04d} 0.1234 0.3321\n" for k in range(2500))
    (tmp_path / "a.cif").write_text(
        f"data_x\n{cell}_symmetry_space_group_name_H-M 'F m -3 m'\nloop_\n{columns}{rows}"
    )
    with pytest.raises(BadInputError, match="longer than any sound one|memory"):
        list(ase_frames(tmp_path / "a.cif", slice(None)))


def test_a_database_that_computes_its_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with ase.db.connect(path) as database:
        database.write(molecule("H2O"))
    with sqlite3.connect(path) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(systems)")]
        connection.execute("ALTER TABLE systems RENAME TO once")
        endless = ", ".join("n.id AS id" if name == "id" else f"once.{name} AS {name}" for name in columns)
        connection.execute(
            "CREATE VIEW systems AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) "
            f"SELECT {endless} FROM n, once"
        )
    connection.close()
    with pytest.raises(BadInputError, match="views"):
        list(ase_frames(path, slice(None)))
