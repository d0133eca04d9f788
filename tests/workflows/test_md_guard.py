"""Dynamics that end early, by the guard, for want of memory or by a signal: a good frame and a restart are
kept.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.calculators.lj import LennardJones

from jmp_calc.errors import GuardError
from jmp_calc.machine.signals import Interrupted
from jmp_calc.workflows.md import md
from jmp_calc.workflows.restart import MDState
from tests.workflows.springs import Springs


class Trap(Springs):
    """Goes wrong at the call number ``at`` in the way ``how``."""

    def __init__(self, places: np.ndarray, how: str, at: int) -> None:
        super().__init__(places, 0.5)
        self.how, self.at, self.calls = how, at, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        if self.calls < self.at:
            return
        if self.how == "nan":
            self.results["forces"] = np.full_like(self.results["forces"], np.nan)
        elif self.how == "heat":
            self.results["forces"] = self.results["forces"] + 30.0 * (-1.0) ** np.arange(len(atoms))[:, None]
        elif self.how == "memory":
            raise MemoryError
        elif self.how == "signals":
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.capability("C12")
@pytest.mark.parametrize("how, message", [("nan", "NaN"), ("heat", "temperature|moved")])
def test_fault_94_guard_saves_the_last_good_frame(how: str, message: str, tmp_path: Path) -> None:
    places = 3.0 * np.indices((2, 2, 2)).reshape(3, -1).T
    atoms = Atoms("Cu8", places)
    atoms.calc = Trap(places, how, at=25)
    with pytest.raises(GuardError, match=message) as caught:
        md(atoms, ensemble="nve", steps=5000, out=tmp_path, timestep_fs=2.0)
    assert caught.value.exit_code == 7
    frame = ase.io.read(tmp_path / "last-good.extxyz")
    assert np.isfinite(frame.positions).all()
    assert frame.info["step"] >= 20
    assert MDState.load(tmp_path / "restart.npz").step == frame.info["step"]


@pytest.mark.capability("C12")
def test_colliding_atoms_trip_the_guard() -> None:
    atoms = Atoms("Cu2", [[0, 0, 0], [3.0, 0, 0]])
    atoms.calc = Springs(atoms.positions, stiffness=0.0)
    atoms.set_momenta([[6.0, 0, 0], [-6.0, 0, 0]])
    with pytest.raises(GuardError, match="atoms 0 and 1 are 0"):
        md(atoms, ensemble="nve", velocities="keep", steps=2000, timestep_fs=1.0, remove_rotation=False)


@pytest.mark.capability("C12")
def test_lost_atom_trips_the_guard(cluster: Atoms) -> None:
    cluster.set_momenta(np.array([[0, 0, 9.0], [0, 0, -9.0], [9.0, 0, 0], [-9.0, 0, 0]]))
    with pytest.raises(GuardError, match="flown off"):
        md(cluster, ensemble="nve", velocities="keep", steps=2000, timestep_fs=5.0)


def test_a_run_that_goes_on_has_the_limit_of_its_start_for_atoms_that_leave() -> None:
    pair = Atoms("Ar2", positions=[[0, 0, 0], [4.0, 0, 0]])
    pair.calc = LennardJones(sigma=3.4, epsilon=1e-6)
    pair.set_velocities([[-0.5, 0, 0], [0.5, 0, 0]])
    run = {"ensemble": "nve", "velocities": "keep", "timestep_fs": 2.0}
    half = md(pair, steps=45, **run)
    assert half.atoms.get_distance(0, 1) > 10
    with pytest.raises(GuardError):
        md(pair, steps=100, restart=half.state, **run)


def test_fault_41_out_of_memory_keeps_the_state(tmp_path: Path) -> None:
    places = 3.0 * np.indices((2, 2, 2)).reshape(3, -1).T
    atoms = Atoms("Cu8", places)
    atoms.calc = Trap(places, "memory", at=25)
    with pytest.raises(MemoryError):
        md(atoms, ensemble="nve", steps=100, out=tmp_path)
    assert MDState.load(tmp_path / "restart.npz").step == 20


def test_a_second_signal_keeps_the_last_checked_state(tmp_path: Path) -> None:
    places = 3.0 * np.indices((2, 2, 2)).reshape(3, -1).T
    atoms = Atoms("Cu8", places)
    atoms.calc = Trap(places, "signals", at=25)
    with pytest.raises(Interrupted, match="restart written after step 20") as caught:
        md(atoms, ensemble="nve", steps=100, stats_every=1, out=tmp_path)
    assert caught.value.exit_code == 143
    assert MDState.load(tmp_path / "restart.npz").step == 20
    atoms.calc = Trap(places, "signals", at=10**6)
    whole = md(atoms, ensemble="nve", steps=30, stats_every=1)
    parts = md(atoms, ensemble="nve", steps=30, stats_every=1, restart=tmp_path / "restart.npz", out=tmp_path)
    assert np.array_equal(whole.atoms.positions, parts.atoms.positions)
    assert parts.stats[:, 0].tolist() == list(range(31))


@pytest.mark.parametrize("signum, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_fault_62_signal_writes_a_restart_that_continues_exactly(
    copper: Atoms, signum: int, code: int, tmp_path: Path
) -> None:
    settings = dict(ensemble="nvt", timestep_fs=2.0, seed=1, stats_every=1, traj_every=50)
    threading.Timer(0.3, os.kill, (os.getpid(), signum)).start()
    with pytest.raises(Interrupted, match="restart written") as caught:
        md(copper, steps=10**6, out=tmp_path / "a", **settings)
    assert caught.value.exit_code == code
    stopped = MDState.load(tmp_path / "a/restart.npz").step
    parts = md(copper, steps=stopped + 7, restart=tmp_path / "a/restart.npz", out=tmp_path / "a", **settings)
    whole = md(copper, steps=stopped + 7, **settings)
    assert np.array_equal(whole.atoms.positions, parts.atoms.positions)
    assert np.array_equal(whole.stats[:, 0], parts.stats[:, 0])
