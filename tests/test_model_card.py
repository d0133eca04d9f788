"""benchmarks/model_card.py: what it reads off curves and trajectories, on ones that are known."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.units import GPa

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
LENGTHS = np.linspace(0.8, 6.0, 53)


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs of benchmarks, which are no part of the package, can be imported."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in [
        name for name in sys.modules if name.partition(".")[0] in ("cards", "card_tables", "rows", "systems")
    ]:
        monkeypatch.delitem(sys.modules, name, raising=False)


def morse(lengths: np.ndarray, depth: float = 4.0) -> np.ndarray:
    """With its minimum at 1.2 Å."""
    return np.asarray(depth * (1 - np.exp(-1.8 * (lengths - 1.2))) ** 2 - depth)


def bump(center: float, height: float) -> np.ndarray:
    return np.asarray(height * np.exp(-(((LENGTHS - center) / 0.3) ** 2)))


def test_minima_are_counted_by_their_depth() -> None:
    from cards.scans import minima  # type: ignore[import-not-found]

    assert len(minima(morse(LENGTHS), 0.02)) == 1
    assert len(minima(morse(LENGTHS) - bump(4.0, 0.5), 0.02)) == 2
    assert len(minima(morse(LENGTHS) - bump(4.0, 0.01), 0.02)) == 1
    assert minima(-LENGTHS, 0.02) == []  # the end of a curve is no minimum


@pytest.mark.parametrize(
    "center, height, beyond, inside", [(3.0, 1.0, 0.7, 0.0), (4.0, -0.5, 0.3, 0.0), (0.9, -5.0, 0.0, 0.5)]
)
def test_walls_and_dips_are_seen_on_their_side_of_the_bond(
    center: float, height: float, beyond: float, inside: float
) -> None:
    from cards.scans import fall_beyond, rise_inside

    clean, energies = morse(LENGTHS), morse(LENGTHS) + bump(center, height)
    lowest = int(clean.argmin())
    assert fall_beyond(clean, lowest) == 0.0 and rise_inside(clean, lowest) == 0.0
    found = fall_beyond(energies, lowest), rise_inside(energies, lowest)
    assert (found[0] > beyond) == (beyond > 0) and (found[1] > inside) == (inside > 0)


def test_a_birch_murnaghan_curve_gives_back_its_constants() -> None:
    from ase.eos import birchmurnaghan
    from cards.scans import birch_murnaghan

    volumes = 20.0 * np.arange(0.88, 1.17, 0.02) ** 3
    fit = birch_murnaghan(volumes, birchmurnaghan(volumes, -3.0, 100 * GPa, 4.5, 20.5))
    assert fit is not None
    assert (fit.volume, fit.energy) == pytest.approx((20.5, -3.0), abs=1e-6)
    assert fit.bulk_modulus_gpa == pytest.approx(100.0, rel=1e-6)
    assert birch_murnaghan(volumes, volumes) is None


def test_a_bond_is_judged_with_and_without_a_teacher() -> None:
    from cards.bonds import against_teacher, alone

    clean = morse(LENGTHS)
    teacher = {"energies_ev": [None, *(float(e) - 900.0 for e in clean[1:])]}
    assert against_teacher(LENGTHS, clean, teacher)["passed"]
    assert not against_teacher(LENGTHS, clean + bump(3.0, 0.5), teacher)["passed"]  # a wall below 1 eV
    softer = against_teacher(LENGTHS, morse(LENGTHS, 2.5), teacher)
    assert not softer["passed"] and softer["largest_difference_ev"] == pytest.approx(1.5, rel=0.1)
    assert alone(LENGTHS, clean, 4.3, 1.07)["passed"]
    assert not alone(LENGTHS, morse(LENGTHS, 0.1), 4.3, 1.07)[
        "passed"
    ]  # separated atoms as low as bonded ones


def test_halves_of_a_molecule_are_rigid() -> None:
    from cards.bonds import scan

    lengths, frames = scan("methanol C-O")
    start = molecule("CH3OH")
    carbon, oxygen = (start.symbols.search(symbol)[0] for symbol in "CO")
    apart = np.array([atoms.get_distance(carbon, oxygen) for atoms in frames])
    np.testing.assert_allclose(apart, lengths, atol=1e-9)
    hydrogens = start.symbols.search("H")
    same = [d for d in start.get_all_distances()[np.ix_([carbon, oxygen], hydrogens)].ravel() if d < 1.3]
    far = [d for d in frames[-1].get_all_distances()[np.ix_([carbon, oxygen], hydrogens)].ravel() if d < 1.3]
    assert len(same) == 4 and far == pytest.approx(same)


def test_attraction_counts_only_nearer_than_trained() -> None:
    from cards.dimers import count, scan, worst_attraction

    distances, frames = scan("H-O")
    assert len(frames) == len(distances) and distances[-1] > 5.7
    forces = np.where(distances < 1.0, -2.0, 3.0)
    assert worst_attraction(distances, forces, 0.4) is None
    found = worst_attraction(distances, forces, 1.5)
    assert found is not None and found[0] < 1.0 and found[1] == -2.0
    curve = morse(LENGTHS) - bump(4.0, 0.5)
    assert count([None, *curve.tolist(), None]) == 2


def test_the_sixty_crystals_are_built() -> None:
    from cards import crystals

    table = crystals.crystals()
    assert len(table) == 60
    assert all(len(crystals.primitive(formula)) <= 4 for formula in table)
    assert all(len(crystals.larger(formula)) >= 2 for formula in table)
    assert len(crystals.scan("Si")) == len(crystals.volumes("Si")) == len(crystals.SCALES)


def test_a_trajectory_keeps_its_bonds_or_not() -> None:
    from cards.dynamics import kept_bonds

    start = molecule("CH3OH")
    shaken, broken = start.copy(), start.copy()
    shaken.rattle(0.05, seed=1)
    broken.positions[2] *= 3.0
    assert kept_bonds(start, [start, shaken])["passed"]
    found = kept_bonds(start, [start, broken, start])
    assert found["broken"] == 1 and not found["passed"]


def test_a_trajectory_keeps_its_lattice_or_not() -> None:
    from cards.dynamics import kept_lattice

    start = bulk("Cu", cubic=True) * (2, 2, 2)

    def frames(jump: float) -> list[Atoms]:
        moved = []
        for seed in range(150):
            atoms = start.copy()
            atoms.rattle(0.1, seed=seed)
            atoms.positions += 0.01 * seed  # the whole crystal drifts
            atoms.positions[0] += jump
            moved.append(atoms)
        return moved

    assert kept_lattice(start, frames(0.0))["passed"]
    assert not kept_lattice(start, frames(1.0))["passed"]


def test_tables_are_made_of_rows_of_any_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import card_tables  # type: ignore[import-not-found]
    import yaml

    refused = {"passed": False, "covered": False, "note": "no head of this level of theory"}
    curve = {"passed": True, "fall_beyond_ev": 0.0, "rise_inside_ev": 0.0}
    rows = {
        "unseen/bpa3_test": refused,
        "bonds/gfn2/water O-H": {**curve, "teacher": True, "largest_difference_ev": 0.2},
        "bonds/pbe-dz/methane C-H": {**curve, "teacher": False},
        "dimers/gfn2": {
            "passed": True,
            "pairs": 1,
            "attracted": 0,
            "worst_attracted": [],
            "too_many_minima": 0,
        },
        "volumes/Si": refused,
        "returns/Si": refused,
        "phonons/Si": refused,
        "dynamics/Si 900 K": refused,
        "dynamics/Al 600 K": {
            "passed": False,
            "covered": True,
            "head": "pbe",
            "atoms": 32,
            "failure": "Guard: x.",
        },
        "dynamics/NaCl 600 K": {
            "passed": False,
            "covered": False,
            "head": "pbe",
            "note": "no pbe-u",
            "atoms": 64,
        },
    }
    monkeypatch.setattr(card_tables, "RESULTS", tmp_path)
    for content in ({}, rows):
        (tmp_path / "model_card.yaml").write_text(yaml.safe_dump({"rows": content}, sort_keys=False))
        for make in card_tables.CARD_TABLES.values():
            head, *lines = make()
            assert all(len(line) == len(head) for line in lines)
    summary = {line[0]: line[2:] for line in card_tables.card_summary()[1:]}
    assert [line[3] for line in card_tables.card_dynamics()[1:]] == [
        "no such head",
        "Guard: x.",
        "not accepted",
    ]
    assert summary["bonds"] == ["2", "2"] and summary["volumes"] == ["1", "0"]


def test_rows_of_another_model_are_dropped(tmp_path: Path) -> None:
    from rows import keep_rows, read_rows, write_row  # type: ignore[import-not-found]

    path = tmp_path / "rows.yaml"
    for name in ("old", "new"):
        write_row(path, name, {"model_sha256": name}, what="", threads=1, order=["new", "old"])
    keep_rows(path, lambda name, row: row["model_sha256"] == "new")
    assert read_rows(path) == {"new": {"model_sha256": "new"}}
