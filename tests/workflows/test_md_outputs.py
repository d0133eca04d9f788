"""Compressed trajectories, analysis while a run goes on, its figure, schedules that end in a relaxation."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from jmp_calc import analyse
from jmp_calc.analysis.table import even_rows
from jmp_calc.errors import JMPWarning, UsageError
from jmp_calc.workflows import md_run
from jmp_calc.workflows.md import md
from jmp_calc.workflows.md_schedule import ends_in_relaxation, stages_of
from jmp_calc.workflows.md_settings import MDSettings
from jmp_calc.workflows.stats import averages

EVERY = {"thermostat": "bussi", "timestep_fs": 2.0, "stats_every": 2, "traj_every": 2, "restart_every": 10}
PACKED = {**EVERY, "traj_format": "extxyz.gz"}


def steps_of(path: Path) -> list[int]:
    return [frame.info["step"] for frame in ase.io.read(path, ":")]


def test_a_compressed_trajectory_has_the_frames_of_a_plain_one(copper: Atoms, tmp_path: Path) -> None:
    md(copper, steps=24, out=tmp_path / "plain", **EVERY)
    md(copper, steps=24, out=tmp_path / "packed", **PACKED)
    plain = ase.io.read(tmp_path / "plain/traj.extxyz", ":")
    packed = ase.io.read(tmp_path / "packed/traj.extxyz.gz", ":")
    assert [frame.info["step"] for frame in packed] == list(range(0, 25, 2))
    for one, other in zip(plain, packed, strict=True):
        assert np.array_equal(one.positions, other.positions)
        assert np.array_equal(one.get_forces(), other.get_forces())
    size = [
        path.stat().st_size for path in (tmp_path / "plain/traj.extxyz", tmp_path / "packed/traj.extxyz.gz")
    ]
    assert size[1] < 0.6 * size[0]
    found = analyse(tmp_path / "packed/traj.extxyz.gz")
    assert found.n_frames == 12 and "temperature_K" in found.averages  # of the stats.dat beside it


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.6], ids=lambda lost: f"{lost} of the file lost")
def test_a_killed_run_goes_on_with_a_compressed_trajectory(
    copper: Atoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """Killed between two restart files, after frames have reached the file; no frame twice, none is lost."""
    whole = md(copper, steps=30, out=tmp_path / "whole", **PACKED)
    monkeypatch.setattr("jmp_calc.workflows.md_frames.BLOCK", 3)

    class Killed(Exception):
        pass

    def dying(run: md_run.Run) -> None:
        if run.step == 17:
            raise Killed
        real(run)

    real = md_run.Run.advance
    folder, packed = tmp_path / "parts", tmp_path / "parts/traj.extxyz.gz"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(md_run.Run, "advance", dying)
        patch.setattr(md_run.Run, "save_last_good", lambda run: None)
        with pytest.raises(Killed):
            md(copper, steps=30, out=folder, **PACKED)
    data = packed.read_bytes()
    packed.write_bytes(data[: len(data) - int(share * len(data))])
    expected = list(range(0, 31, 2))
    if share == 0.6:  # more than the block after the restart file
        with pytest.warns(JMPWarning, match="traj.extxyz.gz has"):
            parts = md(copper, steps=30, out=folder, restart=folder / "restart.npz", **PACKED)
        assert steps_of(packed)[-10:] == expected[-10:] and len(set(steps_of(packed))) == len(
            steps_of(packed)
        )
    else:
        parts = md(copper, steps=30, out=folder, restart=folder / "restart.npz", **PACKED)
        assert steps_of(packed) == expected
    assert np.array_equal(whole.atoms.positions, parts.atoms.positions)


def test_a_restart_cannot_change_the_format(copper: Atoms, tmp_path: Path) -> None:
    md(copper, steps=10, out=tmp_path, **PACKED)
    with pytest.raises(UsageError, match="cannot change their format"):
        md(copper, steps=20, out=tmp_path, restart=tmp_path / "restart.npz", **EVERY)
    with pytest.raises(UsageError, match="Unknown format"):
        md(copper, steps=20, **{**EVERY, "traj_format": "xtc"})


def test_a_run_is_analysed_while_it_goes_on_as_it_is_afterwards(
    copper: Atoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []
    real = md_run.Run.analyse

    def counted(run: md_run.Run) -> object:
        done.append(run.step)
        return real(run)

    monkeypatch.setattr(md_run.Run, "analyse", counted)
    result = md(copper, steps=80, out=tmp_path, analyse=True, plot=False, **EVERY)
    assert done == [10, 20, 40, 80, 80]
    assert result.analysis is not None
    after = analyse(tmp_path / "traj.extxyz")
    assert np.array_equal(after.msd.a2["Cu"], result.analysis.msd.a2["Cu"])
    assert after.averages == result.analysis.averages
    assert (tmp_path / "rdf.dat").is_file() and "analysis" in result.to_dict()
    with pytest.warns(JMPWarning, match="too few to analyse"):
        md(copper, steps=4, analyse=True, **EVERY)


def test_a_run_is_drawn(copper: Atoms, tmp_path: Path) -> None:
    md(copper, ensemble="npt", steps=40, timestep_fs=2.0, stats_every=2, out=tmp_path)
    assert (tmp_path / "md.svg").is_file() and (tmp_path / "md.png").is_file()


def test_a_schedule_may_end_in_a_relaxation(copper: Atoms, tmp_path: Path) -> None:
    schedule = "300 10 steps, 300>50 20 steps, relax"
    assert ends_in_relaxation(schedule) and len(stages_of(schedule, 1.0)) == 2
    result = md(copper, schedule=schedule, out=tmp_path, **EVERY)
    assert result.n_steps == 30 and result.quenched is not None and result.quenched.converged
    quenched = ase.io.read(tmp_path / "quenched.extxyz")
    assert np.linalg.norm(quenched.get_forces(), axis=1).max() <= 0.01
    assert quenched.get_potential_energy() < ase.io.read(tmp_path / "final.extxyz").get_potential_energy()
    assert result.to_dict()["quenched"]["converged"]
    again = md(copper, schedule=schedule, out=tmp_path, restart=tmp_path / "restart.npz", **EVERY)
    assert np.array_equal(again.quenched.atoms.positions, result.quenched.atoms.positions)


def test_the_relaxed_end_is_written_with_the_rest(copper: Atoms, tmp_path: Path) -> None:
    result = md(copper, ensemble="nvt", schedule="300 5 fs, relax", timestep_fs=1.0)
    written = result.write(tmp_path)
    assert tmp_path / "quenched.extxyz" in written
    assert np.allclose(
        ase.io.read(tmp_path / "quenched.extxyz").positions, result.quenched.atoms.positions, atol=1e-6
    )


def test_a_quench_under_pressure_relaxes_the_cell(copper: Atoms) -> None:
    result = md(copper, ensemble="npt", cell="full", schedule="100 0>5 GPa 10 steps, relax", timestep_fs=2.0)
    assert result.quenched is not None
    assert result.quenched.settings.cell == "full" and result.quenched.pressure_gpa == pytest.approx(
        5, abs=0.1
    )
    with pytest.raises(UsageError, match="cannot end in a relaxation"):
        md(copper, ensemble="npt", cell="c", schedule="100 10 steps, relax")


@pytest.mark.parametrize("text", ["relax", "relax, 300 1 ps", "300 1 ps, relax 1 ps"])
def test_a_relaxation_is_the_last_stage_alone(text: str) -> None:
    with pytest.raises(UsageError, match="is no stage"):
        stages_of(text, 1.0)


def test_frames_at_two_distances_are_not_analysed_and_that_is_said(copper: Atoms, tmp_path: Path) -> None:
    md(copper, steps=40, out=tmp_path, **EVERY)
    with pytest.warns(JMPWarning, match=r"not analysed: the frames are not equally spaced.*traj_every 4"):
        result = md(
            copper, steps=80, out=tmp_path, restart=tmp_path / "restart.npz", analyse=True,
            **{**EVERY, "traj_every": 4},
        )  # fmt: skip
    assert result.analysis is None


def test_a_restart_with_other_rows_does_not_weigh_its_part_by_their_number() -> None:
    """80 ps at 100 K with rows every 10 steps, then 20 ps at 600 K with rows at every step."""
    first = [(step, step, 100.0) for step in range(0, 80_001, 10)]
    second = [(step, step, 600.0) for step in range(80_001, 100_001)]
    found = averages(np.array(first + second, dtype=float), ("step", "time_fs", "temperature_K"))
    assert found["means_from_ps"] == pytest.approx(10.0)
    assert found["temperature_k_mean"] == pytest.approx((70 * 100 + 20 * 600) / 90, rel=1e-3)


def test_rows_that_were_lost_thin_nothing() -> None:
    steps = np.concatenate([np.arange(0, 500, 10), np.arange(900, 2000, 10)]).astype(float)
    assert np.array_equal(even_rows(steps), np.arange(len(steps)))


def test_what_told_of_the_part_before_does_not_stay_beside_what_went_on(
    copper: Atoms, tmp_path: Path
) -> None:
    md(copper, steps=60, out=tmp_path, analyse=True, **EVERY)
    assert (tmp_path / "md.svg").is_file() and (tmp_path / "msd.dat").is_file()
    restart = tmp_path / "restart.npz"
    md(copper, steps=60, out=tmp_path, restart=restart, plot=False, **EVERY)  # nothing to do
    assert (tmp_path / "md.svg").is_file() and (tmp_path / "msd.dat").is_file()
    with pytest.warns(JMPWarning, match="msd.dat.* told of the run up to step 60 only"):
        md(copper, steps=80, out=tmp_path, restart=restart, plot=False, **EVERY)
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert left == {"stats.dat", "traj.extxyz", "final.extxyz", "restart.npz"}


def test_the_last_good_frame_has_its_own_time(copper: Atoms, tmp_path: Path) -> None:
    copper.info["time_fs"] = 123456.0
    run = md_run.Run(copper, MDSettings(**EVERY).resolved(), None, tmp_path, "", True)
    for _ in range(10):
        run.advance()
    run.save_last_good()
    assert ase.io.read(tmp_path / "last-good.extxyz").info["time_fs"] == pytest.approx(20.0)
