"""Named teachers, where they are installed: forces and stresses are derivatives of the energies, batches
change nothing, units are right.

``.ci/engines NAME`` makes the environments and sets JMP_CALC_TEACHERS to their folder; tblite may also be
installed beside jmp-calc.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from jmp_calc.io.structures import read_frames
from jmp_calc.labelling.label import label
from jmp_calc.labelling.teachers.names import NAMED

ROOT = Path(__file__).parents[3]
WEIGHTS = {"ani2x": "ANI2X_WEIGHTS", "nequix": "NEQUIX_WEIGHTS"}
STEP = {"tblite": 1e-3, "ani2x": 1e-3, "nequix": 0.02, "chgnet": 0.02, "sevennet": 0.02}
"""Å; single precision needs large ones."""
STRAIN = 5e-3
FORCE_ERROR = {"tblite": 1e-3, "ani2x": 1e-3, "nequix": 5e-3, "chgnet": 1e-2, "sevennet": 5e-3}
"""eV/Å."""
STRESS_ERROR = {"tblite": 2e-5, "nequix": 1e-4, "chgnet": 2e-4, "sevennet": 1e-4}
"""eV/Å^3."""


def given(name: str) -> dict[str, Any]:
    """Arguments of ``label`` for a teacher; skips the test where it is not installed."""
    arguments: dict[str, Any] = {"calculator": name}
    python = Path(os.environ.get("JMP_CALC_TEACHERS", "")) / name / "bin" / "python"
    if name in WEIGHTS:
        arguments["weights"] = os.environ.get(WEIGHTS[name])
        if arguments["weights"] is None:
            pytest.skip(f"set {WEIGHTS[name]} to the weights, and run .ci/engines {name}")
    if name == "tblite" and find_spec("tblite") is not None:
        return arguments
    if "JMP_CALC_TEACHERS" not in os.environ or not python.is_file():
        pytest.skip(f"run: {NAMED[name].install}, or .ci/engines {name}")
    return arguments | {"python": str(python)} | ({"dtype": "float64"} if name == "ani2x" else {})


def labelled(frames: list[Atoms], folder: Path, name: str, **more: Any) -> list[Atoms]:
    result = label(
        frames, out=folder / f"{len(list(folder.iterdir()))}", isolated=False, **given(name), **more
    )
    return ase.io.read(result.path, ":")


def crystal() -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.08, seed=1)
    return atoms


def ethanol() -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.08, seed=1)
    return atoms


def moved(atoms: Atoms, atom: int, axis: int, step: float) -> Atoms:
    out = atoms.copy()
    out.positions[atom, axis] += step
    return out


def strained(atoms: Atoms, row: int, column: int, step: float) -> Atoms:
    out, strain = atoms.copy(), np.eye(3)
    strain[row, column] += step / 2
    strain[column, row] += step / 2
    out.set_cell(out.cell.array @ strain, scale_atoms=True)
    return out


MOLECULAR = [("tblite", ethanol), ("ani2x", ethanol)]
PERIODIC = [(name, crystal) for name in ("tblite", "nequix", "chgnet", "sevennet")]


@pytest.mark.parametrize(
    ("name", "make"), [*MOLECULAR, *PERIODIC], ids=lambda value: getattr(value, "__name__", value)
)
def test_forces_and_stress_are_derivatives_of_the_energy(
    tmp_path: Path, name: str, make: Callable[[], Atoms]
) -> None:
    atoms, step = make(), STEP[name]
    periodic = bool(atoms.pbc.all())
    places, strains = [(0, 0), (1, 1), (3, 2)], [(0, 0), (1, 2)] if periodic else []
    frames = [atoms, *(moved(atoms, *place, sign * step) for place in places for sign in (1, -1))]
    frames += [strained(atoms, *pair, sign * STRAIN) for pair in strains for sign in (1, -1)]
    found = labelled(frames, tmp_path, name)
    energies = [frame.get_potential_energy() for frame in found]
    slopes = np.diff(np.reshape(energies[1:], (-1, 2)))[:, 0] / (2 * step)
    for place, slope in zip(places, slopes):
        assert found[0].get_forces()[place] == pytest.approx(slope, abs=FORCE_ERROR[name])
    for pair, slope in zip(strains, slopes[len(places) :]):
        stress = -slope * step / STRAIN / atoms.get_volume()
        assert found[0].get_stress(voigt=False)[pair] == pytest.approx(stress, abs=STRESS_ERROR[name])


@pytest.mark.parametrize("name", ["ani2x", "nequix", "chgnet"])
def test_batches_change_nothing(tmp_path: Path, name: str) -> None:
    if name == "ani2x":
        frames = [molecule(n) for n in ("H2O", "C6H6", "CH3SH", "H2", "CH3CH2OH")]
    else:
        frames = [crystal(), bulk("Cu"), bulk("Si"), crystal() * (2, 1, 1), bulk("Fe", cubic=True)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=seed)
    together = labelled(frames, tmp_path, name)
    for number in (1, 3):
        (alone,) = labelled([frames[number]], tmp_path, name)
        assert together[number].get_potential_energy() == pytest.approx(
            alone.get_potential_energy(), abs=1e-3
        )
        assert together[number].get_forces() == pytest.approx(alone.get_forces(), abs=1e-3)


def test_tblite_has_its_published_energy_of_water(tmp_path: Path) -> None:
    (water,) = labelled([molecule("H2O")], tmp_path, "tblite")
    assert water.get_potential_energy() == pytest.approx(-137.96777594, abs=1e-5)
    assert water.info["method"] == "GFN2-xTB" and water.info["method_version"].startswith("tblite ")
    (water,) = labelled([molecule("H2O")], tmp_path, "tblite", method="GFN1-xTB")
    assert water.info["method"] == "GFN1-xTB" and water.get_potential_energy() < -150


def test_tblite_honours_charge_and_spin(tmp_path: Path) -> None:
    states: list[dict[str, Any]] = [
        {},
        {"charge": 1},
        {"multiplicity": 3},
        {"spin": 3},
        {"uhf": 2},
        {"spin": 1},
    ]
    frames = [molecule("O2") for _ in states]
    for atoms, state in zip(frames, states):
        atoms.info |= state
    neutral, cation, *triplets, singlet = (
        a.get_potential_energy() for a in labelled(frames, tmp_path, "tblite")
    )
    assert cation - neutral > 5
    assert triplets == pytest.approx([triplets[0]] * 3, abs=1e-6)
    assert abs(triplets[0] - neutral) > 1e-3 and singlet == pytest.approx(neutral, abs=1e-9)


def test_free_atoms_of_tblite_are_in_their_ground_state(tmp_path: Path) -> None:
    symbols = ["H", "C", "N", "O", "S", "Cr", "Fe", "Ce", "Gd", "Yb"]
    result = label([Atoms(symbol) for symbol in symbols], out=tmp_path, **given("tblite"))
    assert result.n_frames == 10 and result.n_added == 0
    assert result.isolated["H"] == pytest.approx(-10.70721147, abs=1e-6)
    assert result.isolated["C"] == pytest.approx(-48.79808021, abs=1e-6), "a triplet"
    assert result.isolated["N"] == pytest.approx(-70.90808774, abs=1e-6), "a quartet"


def test_ani2x_knows_3bpa_and_what_it_does_not_know(tmp_path: Path) -> None:
    sample = read_frames(ROOT / "jmp_calc/samples/bpa3_sample.xyz.gz")
    free = {a.symbols[0]: a.get_potential_energy() for a in sample if len(a) == 1}
    frames = [a for a in sample if len(a) > 1][:8]
    torn = frames[0].copy()
    torn.rattle(0.4, seed=0)
    *found, strange = labelled([*frames, torn], tmp_path, "ani2x")
    errors = [a.get_forces() - b.calc.results["forces"] for a, b in zip(found, frames)]
    assert np.abs(errors).mean() < 0.12
    assert max(a.info["forces_spread"] for a in found) < 0.2 < strange.info["forces_spread"]
    result = label(frames[:1], out=tmp_path / "free", **given("ani2x"))
    assert result.isolated == pytest.approx(free, abs=0.05)
    (bound,) = (a for a in ase.io.read(result.path, ":") if len(a) > 1)
    ours = bound.get_potential_energy() - sum(result.isolated[s] for s in bound.symbols)
    theirs = frames[0].get_potential_energy() - sum(free[s] for s in bound.symbols)
    assert ours == pytest.approx(theirs, abs=0.6), "atomisation energy, eV"


@pytest.mark.parametrize("name", ["nequix", "chgnet", "sevennet"])
def test_teachers_of_crystals_take_no_molecules(tmp_path: Path, name: str) -> None:
    result = label([crystal(), molecule("H2O")], out=tmp_path, **given(name))
    assert result.left_out == {"refused": 1} and result.n_added == 0
    assert "PBE+U" in result.facts.method
