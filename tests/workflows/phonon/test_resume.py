"""A run that was ended goes on: nothing is computed twice, and the numbers are those of a run without end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.morse import MorsePotential
from matscipy.neighbours import neighbour_list

from jmp_calc import phonons, qha
from jmp_calc.errors import UsageError
from jmp_calc.io.records import STATE
from tests.workflows.conftest import morse

QUICK: dict[str, Any] = {"supercell": "2 2 2", "mesh": "3 3 3", "bands": "G X", "band_points": 5}
EXPANSION: dict[str, Any] = {
    "supercell": "2 2 2",
    "mesh": "3 3 3",
    "tmax": 200.0,
    "tstep": 50.0,
    "n_volumes": 5,
}
UNIT = 4


def low_symmetry() -> Atoms:
    """Four atoms, none of which is equivalent to another: several displacements."""
    atoms = bulk("Cu", "fcc", a=3.302, cubic=True)
    atoms.set_masses([60.0, 61.0, 62.0, 63.0])
    return atoms


def interrupt() -> None:
    raise KeyboardInterrupt


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Ends(MorsePotential):
    """Counts the supercells that it is asked for; after ``last`` of them it ends the run."""

    def __init__(self, last: int = 10**9, unit: int = UNIT, end: Callable[[], None] = interrupt) -> None:
        super().__init__(neighbor_list=neighbour_list, **morse().parameters)
        self.last, self.unit, self.end, self.seen = last, unit, end, 0

    def calculate(self, atoms: Any = None, *words: Any) -> None:
        if len(atoms) > self.unit:
            if self.seen == self.last:
                self.end()
            self.seen += 1
        super().calculate(atoms, *words)


def test_phonons_go_on_after_an_end(tmp_path: Path) -> None:
    whole = Ends()
    expected = phonons(low_symmetry(), calc=whole, **QUICK)
    first, second = Ends(last=3), Ends()
    with pytest.raises(KeyboardInterrupt):
        phonons(low_symmetry(), calc=first, **QUICK, out=tmp_path, plot=False)
    again = phonons(low_symmetry(), calc=second, **QUICK, out=tmp_path, resume=True, plot=False)
    assert first.seen == 3
    assert first.seen + second.seen == whole.seen == expected.n_displacements
    assert np.array_equal(again.frequencies_thz, expected.frequencies_thz)
    third = Ends()
    more = phonons(
        low_symmetry(), calc=third, **{**QUICK, "mesh": "2 2 2"}, out=tmp_path, resume=True, plot=False
    )
    assert third.seen == 0  # other settings, same forces
    assert more.phonopy.mesh.mesh_numbers.tolist() == [2, 2, 2]


def test_a_run_without_resume_begins_anew(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        phonons(low_symmetry(), calc=Ends(last=2), **QUICK, out=tmp_path)
    second = Ends()
    result = phonons(low_symmetry(), calc=second, **QUICK, out=tmp_path, plot=False)
    assert second.seen == result.n_displacements


def test_another_structure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        phonons(low_symmetry(), calc=Ends(last=1), **QUICK, out=tmp_path)
    other = low_symmetry()
    other.set_cell(1.001 * other.cell.array, scale_atoms=True)
    with pytest.raises(UsageError, match="other structure"):
        phonons(other, calc=Ends(), **QUICK, out=tmp_path, resume=True)


def test_expansion_goes_on_after_an_end(tmp_path: Path) -> None:
    atoms = bulk("Cu", "fcc", a=3.302)
    whole, first, second = Ends(unit=1), Ends(last=3, unit=1), Ends(unit=1)
    expected = qha(atoms, calc=whole, **EXPANSION)
    with pytest.raises(KeyboardInterrupt):
        qha(atoms, calc=first, **EXPANSION, out=tmp_path)
    again = qha(atoms, calc=second, **EXPANSION, out=tmp_path, resume=True, plot=False)
    assert first.seen + second.seen == whole.seen == 5
    assert np.array_equal(again.volume, expected.volume)


KILLED = """
import sys
from tests.workflows.phonon.test_resume import QUICK, Ends, die, low_symmetry
from jmp_calc import phonons
calc = Ends(last=int(sys.argv[1]), end=die)
phonons(low_symmetry(), calc=calc, **QUICK, out=sys.argv[2], resume=True, plot=False)
"""


@pytest.mark.slow
def test_ten_kills_lose_nothing(tmp_path: Path) -> None:
    """SIGKILL after every few supercells; each new process goes on."""
    ends = 0
    for _ in range(10):  # more than there are supercells: the last runs end well
        words = [sys.executable, "-c", KILLED, "1", str(tmp_path)]
        done = subprocess.run(words, cwd=Path(__file__).parents[3], check=False)
        ends += done.returncode == -signal.SIGKILL
    assert (tmp_path / STATE).is_file()
    calc = Ends()
    result = phonons(low_symmetry(), calc=calc, **QUICK, out=tmp_path, resume=True, plot=False)
    assert ends == min(10, result.n_displacements - 1)
    assert calc.seen == max(result.n_displacements - 10, 0)
    assert np.array_equal(
        result.frequencies_thz, phonons(low_symmetry(), calc=Ends(), **QUICK).frequencies_thz
    )
