"""Schedules: stages that hold, ramp and quench in one run, exact across restarts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from jmp_calc.errors import UsageError
from jmp_calc.workflows import md_run
from jmp_calc.workflows.md import md
from jmp_calc.workflows.md_schedule import stage_at, stages_of
from jmp_calc.workflows.md_settings import MDSettings

RAMP = "300 20 fs, 300>600 40 fs, 600>300 5000 K/ps, 250 10 steps"


@pytest.mark.capability("C7")
def test_stages_hold_ramp_and_jump() -> None:
    stages = stages_of(RAMP, 2.0)
    assert [(s.first, s.last) for s in stages] == [(0, 10), (10, 30), (30, 60), (60, 70)]
    targets = {step: stage_at(stages, step).at(step)[0] for step in (0, 10, 20, 30, 45, 60, 61, 70)}
    assert targets == pytest.approx(
        {0: 300.0, 10: 300.0, 20: 450.0, 30: 600.0, 45: 450.0, 60: 300.0, 61: 250.0, 70: 250.0}
    )


@pytest.mark.parametrize(
    "text", ["300->600K 0>5GPa 1ps", "300 > 600 K 0 → 5 GPa 1000 fs", "300>600 0>5 gpa 1000 steps"]
)
def test_spellings_of_one_stage(text: str) -> None:
    (stage,) = stages_of(text, 1.0)
    assert stage.text() == "300.0>600.0 K 0.0>5.0 GPa 1000 steps"
    assert stage.at(500) == pytest.approx((450.0, 2.5))


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "'' is no stage"),
        ("300", "'300' is no stage"),
        ("300 1 ps,", "'' is no stage"),
        ("300 1 hour", "no stage"),
        ("300>600>900 1 ps", "no stage"),
        ("0 1 ps", "positive"),
        ("-300 1 ps", "positive"),
        ("1e999 1 ps", "finite"),
        ("300 100 K/ps", "two temperatures"),
        ("300>600 -5 K/ps", "one time step"),
        ("300>600 0 K/ps", "one time step"),
        ("300 0 ps", "one time step"),
        ("300 0.1 fs", "one time step"),
        ("300 1e300 ns", "one time step"),
        ("300 1.5 steps", "whole"),
        ("nan 1 ps", "no stage"),
    ],
)
def test_a_schedule_that_cannot_be_meant_is_a_sentence(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MDSettings(schedule=text).resolved()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"ensemble": "nve"}, "needs a thermostat"),
        ({"temperature_k": 500.0}, "starts at 300 K, not at 500 K"),
        ({"steps": 7}, "lasts 70 steps, not 7"),
        ({"schedule": "300 1 GPa 1 ps"}, "pressures needs ensemble npt"),
    ],
)
def test_settings_that_contradict_the_schedule(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MDSettings(**{"schedule": RAMP, "timestep_fs": 2.0, **settings}).resolved()


def test_settings_are_resolved_once_and_for_all() -> None:
    once = MDSettings(schedule=RAMP, timestep_fs=2.0).resolved()
    assert (once.steps, once.temperature_k, once.hottest_k) == (70, 300.0, 600.0)
    assert MDSettings(**once.to_dict()).resolved() == once


METHODS = [
    *({"ensemble": "nvt", "thermostat": name} for name in ("langevin", "baoab", "nose-hoover", "bussi")),
    *({"ensemble": "npt", "cell": name} for name in ("volume", "full", "lengths", "c")),
]


@pytest.mark.capability("C8")
@pytest.mark.parametrize("method", METHODS, ids=lambda method: list(method.values())[-1])
def test_a_restarted_run_equals_an_uninterrupted_one_bit_for_bit(
    copper: Atoms, method: dict, tmp_path: Path
) -> None:
    schedule = RAMP
    if method["ensemble"] == "npt":
        schedule = schedule.replace("600 40", "600 0>3 GPa 40").replace("300 5000", "300 3 GPa 5000")
    settings = dict(**method, schedule=schedule, timestep_fs=2.0, seed=3, steps=70, restart_every=25)
    whole = md(copper, out=tmp_path / "whole", **settings)
    stop = tmp_path / "parts"

    class Killed(Exception):
        pass

    def dying(run: md_run.Run) -> None:
        if run.step == 43:  # in the middle of a ramp; the last restart file is that of step 25
            raise Killed
        real(run)

    real = md_run.Run.advance
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(md_run.Run, "advance", dying)
        patch.setattr(md_run.Run, "save_last_good", lambda run: None)
        with pytest.raises(Killed):
            md(copper, out=stop, **settings)
    parts = md(copper, out=stop, restart=stop / "restart.npz", **settings)
    assert parts.started_at == 25
    assert np.array_equal(whole.atoms.positions, parts.atoms.positions)
    assert np.array_equal(whole.atoms.get_momenta(), parts.atoms.get_momenta())
    assert np.array_equal(whole.atoms.cell.array, parts.atoms.cell.array)
    kept = whole.state.integrator
    assert all(np.array_equal(kept[name], parts.state.integrator[name]) for name in kept)
    for name in ("stats.dat", "traj.extxyz", "final.extxyz"):
        assert (tmp_path / "whole" / name).read_bytes() == (stop / name).read_bytes()


@pytest.mark.capability("C7")
@pytest.mark.parametrize("method", METHODS[1:6], ids=lambda method: list(method.values())[-1])
def test_the_temperature_follows_a_ramp(copper: Atoms, method: dict) -> None:
    quick = (
        {"friction_per_ps": 100.0} if method.get("thermostat") in ("langevin", "baoab")
        else {"thermostat_time_fs": 20.0}
    )  # fmt: skip
    result = md(
        copper, schedule="100 200 fs, 100>1000 200 fs, 1000 400 fs", timestep_fs=2.0, stats_every=2,
        **method, **quick,
    )  # fmt: skip
    cold, ramp, hot = result.to_dict()["stages"]
    assert cold["temperature_k_mean"] < 180
    assert 200 < ramp["temperature_k_mean"] < 900
    assert 750 < hot["temperature_k_mean"] < 1300
    goal = result.stats[:, result.columns.index("target_K")]
    assert goal[[0, 50, 75, 100, -1]] == pytest.approx([100, 100, 550, 1000, 1000])
    assert ("target_GPa" in result.columns) is (method["ensemble"] == "npt")
    assert result.drift is None
    assert "temperature_k_mean" not in result.to_dict()


def test_a_schedule_may_get_more_stages_but_no_others(copper: Atoms, tmp_path: Path) -> None:
    md(copper, schedule="300 20 fs, 300>400 20 fs", timestep_fs=2.0, out=tmp_path)
    restart = tmp_path / "restart.npz"
    with pytest.raises(UsageError, match="schedule was .*, now "):
        md(copper, schedule="300 20 fs, 300>500 60 fs", timestep_fs=2.0, restart=restart, out=tmp_path)
    longer = md(
        copper, schedule="300 20 fs, 300>400 20 fs, 400 20 fs", timestep_fs=2.0, restart=restart, out=tmp_path
    )
    assert (longer.started_at, longer.n_steps) == (20, 30)


def test_a_pressure_stays_in_the_stages_that_name_none() -> None:
    text = "300 1 ps, 300 0>5 GPa 1 ps, 300>600 1 ps, 600 2 GPa 1 ps, 300 1 ps"
    pressures = [stage.pressure_gpa for stage in stages_of(text, 1.0)]
    assert pressures == [None, (0.0, 5.0), (5.0, 5.0), (2.0, 2.0), (2.0, 2.0)]
    settings = MDSettings(ensemble="npt", schedule=text, pressure_gpa=1.0).resolved()
    assert [settings.target(step)[1] for step in (500, 1500, 2500, 4500)] == pytest.approx([1, 2.5, 5, 2])
