"""Runs that are killed (SIGKILL) at random moments and go on: their files must be those of a run left alone.

``survives`` forks, so that a run begins at once; ``benchmarks/workflow_kills.py`` does it a hundred times.
"""

from __future__ import annotations

import gzip
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from jmp_calc import elastic, md, neb, phonons, relax, relax_many, screen, sscha
from jmp_calc.workflows.relax_settings import RelaxSettings

PAUSE_S = 0.004
"""Added to every evaluation, so that a run lasts long enough to be hit anywhere."""


class SlowEMT(EMT):
    """EMT that takes its time, and whose results depend on the structure alone: ASE's keeps its neighbours
    from call to call, and their order shows in the last digits."""

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        time.sleep(PAUSE_S)
        super().calculate(atoms, properties, all_changes)


@dataclass(frozen=True)
class Case:
    """A run that begins in a folder, or goes on there."""

    name: str
    run: Callable[[Path], object]
    files: tuple[str, ...]
    """What must be the same, byte for byte; of packed files their content."""

    def content(self, folder: Path) -> dict[str, bytes]:
        """What the run left."""
        return {name: _content(folder / name) for name in self.files}


def _content(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    with gzip.open(path, "rb") as stream:
        return stream.read()


def _dynamics(folder: Path, settings: dict[str, Any]) -> None:
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    restart = folder / "restart.npz"
    every = {"timestep_fs": 2.0, "stats_every": 1, "traj_every": 2, "restart_every": 7, "plot": False}
    given = every | {"steps": 60} | settings
    md(atoms, calc=SlowEMT(), out=folder, restart=restart if restart.exists() else None, **given)


def _of_dynamics(name: str, **settings: Any) -> Case:
    traj = f"traj.{settings.get('traj_format', 'extxyz')}"
    return Case(name, lambda folder: _dynamics(folder, settings), ("stats.dat", traj, "final.extxyz"))


def _hop(folder: Path) -> None:
    initial = fcc100("Al", size=(2, 2, 2))
    add_adsorbate(initial, "Au", 1.7, "hollow")
    initial.center(axis=2, vacuum=4.0)
    initial.set_constraint(FixAtoms([atom.index for atom in initial if atom.tag > 1]))
    final = initial.copy()
    final.positions[-1, 0] += 0.5 * initial.cell[0, 0]
    settings = {"images": 3, "ends_fmax": 0.05, "steps": 40, "plot": False}
    neb(initial, final, calc=SlowEMT(), resume=True, out=folder, **settings)


def _lattice(folder: Path) -> None:
    atoms = bulk("Cu", a=3.59, cubic=True)
    atoms.set_masses([60.0, 61.0, 62.0, 63.0])  # no atom is like another: several displacements
    settings = {"supercell": "2 2 2", "mesh": "3 3 3", "bands": "G X", "band_points": 5, "plot": False}
    phonons(atoms, calc=SlowEMT(), resume=True, out=folder, **settings)


def _warm_lattice(folder: Path) -> None:
    settings = {"supercell": "3 3 3", "mesh": "3 3 3", "bands": "G X", "band_points": 5, "plot": False}
    few = {"snapshots": 6, "iterations": 3, "transient": 1}
    sscha(bulk("Cu", a=3.59), calc=SlowEMT(), resume=True, out=folder, **few, **settings)


def _crystals() -> list[Atoms]:
    """Seven rattled cells of four atoms."""
    lengths = {"Cu": 3.7, "Al": 4.1, "Ni": 3.6, "Ag": 4.0, "Pd": 3.8, "Pt": 4.0, "Au": 4.2}
    found = [bulk(name, "fcc", a=length, cubic=True) for name, length in lengths.items()]
    for number, atoms in enumerate(found):
        atoms.rattle(0.05, seed=number)
    return found


def _relaxations(folder: Path) -> None:
    relax_many(_crystals(), calc=SlowEMT(), fmax=0.02, together=3, resume=True, out=folder)


def _campaign(folder: Path) -> None:
    settings = RelaxSettings(fmax=0.02)
    screen(_crystals(), calc=SlowEMT, settings=settings, batch=1, resume=True, out=folder, plot=False)


def _strained(folder: Path) -> None:
    nickel = relax(bulk("Ni", "hcp", a=2.48, c=4.05), calc=EMT(), cell="full", fmax=1e-3).atoms
    elastic(nickel, calc=SlowEMT(), n_strains=3, resume=True, out=folder, plot=False)


RAMP = "300 20 steps, 300>900 20 steps, 900>300 20 steps"
CASES = (
    _of_dynamics("md nve", ensemble="nve"),
    _of_dynamics("md langevin", thermostat="langevin"),
    _of_dynamics("md baoab", thermostat="baoab"),
    _of_dynamics("md nose-hoover", thermostat="nose-hoover"),
    _of_dynamics("md bussi", thermostat="bussi"),
    _of_dynamics("md bussi, compressed", thermostat="bussi", traj_format="extxyz.gz"),
    _of_dynamics("md npt volume", ensemble="npt"),
    _of_dynamics("md npt lengths", ensemble="npt", cell="lengths"),
    _of_dynamics("md npt full", ensemble="npt", cell="full"),
    _of_dynamics("md npt c", ensemble="npt", cell="c"),
    _of_dynamics("md schedule", thermostat="bussi", schedule=RAMP),
    Case("elastic", _strained, ("strained.extxyz",)),
    Case("neb", _hop, ("neb.dat", "neb.log", "band.extxyz", "saddle.extxyz")),
    Case("phonons", _lattice, ("band.yaml", "mesh.yaml", "thermal_properties.yaml", "unitcell.extxyz")),
    Case("sscha", _warm_lattice, ("band.yaml", "iterations.dat", "unitcell.extxyz")),
    Case("relax many", _relaxations, ("relax.csv", "relaxed.extxyz")),
    Case("screen", _campaign, ("screen.csv", "screen.extxyz")),
)


def survives(case: Case, folder: Path, kills: int, rng: np.random.Generator) -> int:
    """Run a case alone, then again with kills at random moments; AssertionError where files differ.

    A run that is done before all kills are is compared, and another is begun. Returns how many were begun.
    """
    whole = folder / "whole"
    begin = time.monotonic()
    _finished(case, whole)
    seconds, hits, begun = time.monotonic() - begin, 0, 1
    while hits < kills:
        killed = folder / f"killed-{begun}"
        process = _started(case, killed)
        process.join(float(rng.uniform(0, seconds)))
        if process.exitcode is None:
            process.kill()
            hits += 1
        process.join()
        assert process.exitcode in (0, -9), f"{case.name}: a run that went on failed"
        if process.exitcode == 0:
            _compare(case, whole, killed, hits)
            begun += 1
    _finished(case, folder / f"killed-{begun}")
    _compare(case, whole, folder / f"killed-{begun}", hits)
    return begun


def _compare(case: Case, whole: Path, killed: Path, hits: int) -> None:
    expected, found = case.content(whole), case.content(killed)
    for name in case.files:
        assert found[name] == expected[name], f"{case.name}: {name} differs after {hits} kills"


def _started(case: Case, folder: Path) -> Any:
    process = multiprocessing.get_context("fork").Process(target=_child, args=(case, folder))
    process.start()
    return process


def _child(case: Case, folder: Path) -> None:
    case.run(folder)
    os._exit(0)


def _finished(case: Case, folder: Path) -> None:
    process = _started(case, folder)
    process.join()
    assert process.exitcode == 0, f"{case.name} failed"
