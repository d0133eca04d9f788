"""Files of dynamics after kills, losses of power, damage and other processes."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from jmp_calc.errors import BadInputError, JMPWarning, UsageError
from jmp_calc.io.outdir import locked
from jmp_calc.workflows import md_run
from jmp_calc.workflows.md import md
from jmp_calc.workflows.relax import relax
from jmp_calc.workflows.restart import MDState
from jmp_calc.workflows.stats import COLUMNS

EVERY = {"ensemble": "nvt", "timestep_fs": 2.0, "stats_every": 5, "traj_every": 5, "restart_every": 10}


def test_rows_and_frames_are_on_the_disk_before_the_restart_file(
    copper: Atoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order in which files are forced to disk: a restart file never counts on what power may take."""
    order: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        order.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.strip(".").partition(".npz")[0])
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    md(copper, steps=20, out=tmp_path, **EVERY)
    restarts = [place for place, name in enumerate(order) if name == "restart"]
    assert len(restarts) >= 3
    for place in restarts[1:]:  # the first is written before any row
        assert order[place - 2 : place] == ["stats.dat", "traj.extxyz"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[: len(data) // 3] + bytes(len(data) // 3) + data[2 * len(data) // 3 :],
        lambda data: b"",
        lambda data: bytes(len(data)),
        lambda data: None,
    ],
    ids=["cut", "hole", "empty", "zeros", "gone"],
)
@pytest.mark.parametrize("name", ["stats.dat", "traj.extxyz"])
def test_rows_and_frames_that_power_took_are_told(copper: Atoms, tmp_path: Path, name: str, damage) -> None:
    md(copper, steps=40, out=tmp_path, **EVERY)
    path = tmp_path / name
    left = damage(path.read_bytes())
    path.unlink() if left is None else path.write_bytes(left)
    with pytest.warns(
        JMPWarning, match=rf"{name} has \d of the 9 records up to step 40; the others are lost"
    ):
        result = md(copper, steps=60, out=tmp_path, restart=tmp_path / "restart.npz", **EVERY)
    assert result.n_steps == 60
    steps = [frame.info["step"] for frame in ase.io.read(tmp_path / "traj.extxyz", ":")]
    rows = np.loadtxt(tmp_path / "stats.dat")[:, 0].tolist()
    for found in (steps, rows):
        assert found == sorted(set(found)) and found[-4:] == [45, 50, 55, 60]
    assert (tmp_path / "stats.dat").read_text().startswith("# step  time_fs")
    with warnings.catch_warnings():  # told once, not for ever
        warnings.simplefilter("error", JMPWarning)
        md(copper, steps=70, out=tmp_path, restart=tmp_path / "restart.npz", **EVERY)


def test_a_restart_that_lost_nothing_says_nothing(copper: Atoms, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", JMPWarning)
        md(copper, steps=13, out=tmp_path / "a", **EVERY)
        md(copper, steps=27, out=tmp_path / "a", restart=tmp_path / "a/restart.npz", **EVERY)
        other = {**EVERY, "stats_every": 3, "traj_every": 7}  # may change
        md(copper, steps=40, out=tmp_path / "a", restart=tmp_path / "a/restart.npz", **other)
        md(copper, steps=45, out=tmp_path / "b", restart=tmp_path / "a/restart.npz", **EVERY)
        md(copper, steps=50, out=tmp_path / "b", restart=tmp_path / "b/restart.npz", **EVERY)


KILLED = """
import os, sys
from ase.build import bulk
from ase.calculators.emt import EMT
from jmp_calc.workflows import md, md_run
method, call = sys.argv[1], getattr(md_run.Run, sys.argv[1])
def killed(run, *args):
    if sys.argv[2] == "after":
        call(run, *args)
    os._exit(9)
setattr(md_run.Run, method, killed)
md.md(bulk("Cu", cubic=True), calc=EMT(), steps=4, stats_every=1, traj_every=1, out="run")
"""


@pytest.mark.parametrize(
    "method, when", [("_start", "before"), ("save_restart", "after"), ("record", "after")]
)
def test_a_run_killed_at_its_start_can_start_again(tmp_path: Path, method: str, when: str) -> None:
    from ase.build import bulk
    from ase.calculators.emt import EMT

    words = [sys.executable, "-c", KILLED, method, when]
    assert subprocess.run(words, cwd=tmp_path, check=False).returncode == 9
    folder = tmp_path / "run"
    own = folder / "restart.npz"
    restart = own if own.exists() else None
    every = {"steps": 4, "stats_every": 1, "traj_every": 1}
    parts = md(bulk("Cu", cubic=True), calc=EMT(), out=folder, restart=restart, **every)
    whole = md(bulk("Cu", cubic=True), calc=EMT(), out=tmp_path / "whole", **every)
    assert np.array_equal(whole.atoms.positions, parts.atoms.positions)
    for name in ("stats.dat", "traj.extxyz"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


HOLDS = "import sys, time; from pathlib import Path; from jmp_calc.io.outdir import claimed\n" + (
    "with claimed('run'):\n    print('held', flush=True); sys.stdin.read()"
)


@pytest.mark.parametrize("workflow", [md, relax])
def test_a_folder_belongs_to_one_job(copper: Atoms, tmp_path: Path, workflow) -> None:
    words = [sys.executable, "-c", HOLDS]
    with subprocess.Popen(words, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match="Another jmp-calc job"):
            workflow(copper, steps=1, out=tmp_path / "run")
        assert {path.name for path in (tmp_path / "run").iterdir()} == {".jmp-calc.lock"}
        other.communicate()
    workflow(copper, steps=1, out=tmp_path / "run")
    with locked(tmp_path / "run", nested=True):  # as a command does
        workflow(copper, steps=1, out=tmp_path / "run", prefix="again")
    with locked(tmp_path / "run"), pytest.raises(UsageError, match="Another jmp-calc job"):
        workflow(copper, steps=1, out=tmp_path / "run", prefix="third")


@pytest.mark.parametrize("workflow", [md, relax])
def test_an_output_that_is_a_file_is_a_sentence(copper: Atoms, tmp_path: Path, workflow) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="output path is a file"):
        workflow(copper, steps=1, out=tmp_path / "file")


@pytest.fixture(scope="module")
def restart_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A restart file of NPT dynamics, which has the most in it."""
    from tests.workflows.conftest import crystal

    folder = tmp_path_factory.mktemp("npt")
    md(crystal(), ensemble="npt", steps=2, out=folder)
    return (folder / "restart.npz").read_bytes()


def test_any_damaged_byte_of_a_restart_file_is_a_sentence_or_harmless(
    copper: Atoms, restart_bytes: bytes, tmp_path: Path
) -> None:
    path, rng = tmp_path / "restart.npz", np.random.default_rng(7)
    path.write_bytes(restart_bytes)
    sound = MDState.load(path)
    refused = 0
    places = [*range(0, len(restart_bytes), 13), *range(len(restart_bytes) - 200, len(restart_bytes))]
    for place in places:
        damaged = bytearray(restart_bytes)
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            state = MDState.load(path)
        except BadInputError:
            refused += 1
            continue
        assert state.is_same_as(sound) and state.physics == sound.physics
        for name, array in sound.integrator.items():
            assert np.array_equal(state.integrator[name], array)
    assert refused > 0.5 * len(places)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_restart_file_that_is_cut_is_a_sentence(restart_bytes: bytes, tmp_path: Path, share: float) -> None:
    path = tmp_path / "restart.npz"
    path.write_bytes(restart_bytes[: int(share * len(restart_bytes))])
    with pytest.raises(BadInputError, match="not a sound restart file"):
        MDState.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"positions": np.full((8, 3), np.nan)},
        {"positions": np.zeros((7, 3))},
        {"momenta": np.zeros((8, 3), dtype=complex)},
        {"cell": np.zeros(3)},
        {"pbc": np.zeros(3)},
        {"step": -1},
        {"step": "many"},
        {"physics": [1]},
        {"start_temperature_k": float("nan")},
        {"degrees_of_freedom": 0},
        {"records": [1]},
        {"integrator": {}},
        {"integrator": {"rng": np.zeros(4, dtype=np.uint8)}},
        {"integrator": {"_eps": np.zeros(3)}},
        {"integrator": {"_q": np.zeros(3)}},
        {"integrator": {"p_eta": np.full(3, np.nan)}},
    ],
    ids=str,
)
def test_a_restart_file_with_nonsense_is_a_sentence(
    copper: Atoms, restart_bytes: bytes, tmp_path: Path, change: dict
) -> None:
    path = tmp_path / "restart.npz"
    path.write_bytes(restart_bytes)
    state = MDState.load(path)
    inner = change.pop("integrator", None)
    if inner is not None:
        state.integrator.update(inner) if inner else state.integrator.clear()
    for name, value in change.items():
        object.__setattr__(state, name, value)
    state.save(path)
    with pytest.raises(BadInputError, match="restart file"):
        md(copper, ensemble="npt", steps=4, restart=path)


def test_a_compressed_restart_file_is_not_unpacked(copper: Atoms, tmp_path: Path) -> None:
    path = tmp_path / "restart.npz"
    np.savez_compressed(path, header=np.zeros(10**6, dtype=np.uint8))
    with pytest.raises(BadInputError, match="restart file"):
        md(copper, restart=path)


def test_a_table_of_an_earlier_version_keeps_its_columns(copper: Atoms, tmp_path: Path) -> None:
    md(copper, steps=10, out=tmp_path, **EVERY)
    path = tmp_path / "stats.dat"
    rows = [" ".join(line.split()[:6]) for line in path.read_text().splitlines()[1:]]
    path.write_text("\n".join(["# " + "  ".join(COLUMNS), *rows, ""]))
    result = md(copper, steps=20, out=tmp_path, restart=tmp_path / "restart.npz", **EVERY)
    assert result.columns == COLUMNS
    assert result.stats[:, 0].tolist() == [0, 5, 10, 15, 20]


def test_whole_files_appear_at_once(copper: Atoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up while the last frame is written leaves no half of it."""
    md(copper, steps=2, out=tmp_path)
    before = (tmp_path / "final.extxyz").read_bytes()

    def half(path: Path, *_: object, **__: object) -> None:
        Path(path).write_text("8\n")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ase.io, "write", half)
    with pytest.raises(OSError, match="No space") as caught:
        md_run.write_frames(tmp_path / "final.extxyz", [copper])
    assert caught.value.filename is not None
    assert (tmp_path / "final.extxyz").read_bytes() == before
    assert not list(tmp_path.glob(".final*"))


def test_results_can_be_sent_to_another_process(copper: Atoms) -> None:
    for result in (relax(copper, steps=2), md(copper, steps=2)):
        again = pickle.loads(pickle.dumps(result))
        assert again.atoms == result.atoms and repr(again) == repr(result)
