"""What is computed together follows from the input alone."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
from ase.build import bulk, molecule

from jmp_calc.screening.plan import Unit, Unreadable, planned, read


def units(frames: object, size: int) -> list[Unit]:
    return [part for part in planned(frames, size) if isinstance(part, Unit)]  # type: ignore[arg-type]


def test_molecules_and_crystals_are_in_units_of_their_own() -> None:
    mixed = [molecule("H2O"), bulk("Cu"), molecule("CH4"), bulk("Al"), molecule("NH3")]
    found = units(read(mixed), 2)
    assert [[place.formula for place in unit.places] for unit in found] == [
        ["H2O", "CH4"],
        ["Cu", "Al"],
        ["H3N"],
    ]
    assert sorted(place.number for unit in found for place in unit.places) == [0, 1, 2, 3, 4]


def test_a_unit_is_known_by_what_is_in_it() -> None:
    water = molecule("H2O")
    moved, charged = water.copy(), water.copy()
    moved.positions[0, 0] += 1e-9
    charged.info["charge"] = 1
    keys = [units(read([atoms]), 4)[0].key for atoms in (water, water.copy(), moved, charged)]
    assert keys[0] == keys[1] and len(set(keys)) == 3


def test_a_file_with_a_fault_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "a.cif", bulk("Cu"))
    (tmp_path / "b.cif").write_text("data_nothing\n")
    ase.io.write(tmp_path / "c.extxyz", [bulk("Al"), bulk("Ni")])
    specs = [str(tmp_path / name) for name in ("a.cif", "b.cif", "c.extxyz")]
    parts = list(planned(read(specs), 8))
    faults = [part[1] for part in parts if not isinstance(part, Unit)]
    assert len(faults) == 1 and isinstance(faults[0], Unreadable) and faults[0].spec == specs[1]
    (unit,) = (part for part in parts if isinstance(part, Unit))
    assert [(place.number, place.formula) for place in unit.places] == [(0, "Cu"), (2, "Al"), (3, "Ni")]


def test_large_structures_fill_a_unit_alone() -> None:
    large = bulk("Cu", cubic=True) * (11, 11, 9)
    assert [len(unit.places) for unit in units(read([large, large, bulk("Cu")]), 8)] == [1, 1, 1]
    assert np.all(large.pbc)
