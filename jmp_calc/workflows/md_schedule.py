"""Temperatures and pressures that change during one run: stages that hold, ramp or jump.

    "300 2 ps, 300>1500 10 ps, 1500 20 ps, 1500>300 100 K/ps, 300 5 ps"

A stage is one temperature (hold; after another temperature a quench) or two (ramp), then a pressure or two
where there is a barostat (``0>5 GPa``; the last one stays in later stages that name none), then how long: fs,
ps, ns, steps, or for ramps a rate in K/ps. The last may be ``relax``: the structure is relaxed at the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from ..errors import UsageError
from .pressures import check_pressure

_NUMBER = r"[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?"
_ARROW = r"\s*(?:->|>|→)\s*"
_STAGE = re.compile(
    rf"(?P<t>{_NUMBER})(?:{_ARROW}(?P<t_end>{_NUMBER}))?(?:\s*K)?"
    rf"(?:\s+(?P<p>{_NUMBER})(?:{_ARROW}(?P<p_end>{_NUMBER}))?\s*GPa)?"
    rf"\s+(?P<length>{_NUMBER})\s*(?P<unit>fs|ps|ns|steps|K/ps)",
    re.IGNORECASE,
)
_FS = {"fs": 1.0, "ps": 1e3, "ns": 1e6}
MOST_STEPS = 10**12
RELAX = "relax"
EXAMPLE = "write it as '300 2 ps, 300>1500 10 ps, 1500>300 100 K/ps'"


@dataclass(frozen=True)
class Stage:
    """One stage: steps ``first`` + 1 to ``last`` of the run."""

    first: int
    last: int
    temperature_k: tuple[float, float]
    pressure_gpa: tuple[float, float] | None
    """None: that of the run; after a stage with a pressure its last one."""

    def text(self) -> str:
        """What is done how long; two stages with the same text at the same place are the same."""
        pressure = "" if self.pressure_gpa is None else f" {_span(self.pressure_gpa)} GPa"
        return f"{_span(self.temperature_k)} K{pressure} {self.last - self.first} steps"

    def at(self, step: int) -> tuple[float, float | None]:
        """Temperature (K) and pressure (GPa) of the targets of a step, the last values at its last step."""
        share = (step - self.first) / (self.last - self.first)
        pressure = None if self.pressure_gpa is None else _between(self.pressure_gpa, share)
        return _between(self.temperature_k, share), pressure


def _span(ends: tuple[float, float]) -> str:
    return f"{ends[0]!r}" if ends[0] == ends[1] else f"{ends[0]!r}>{ends[1]!r}"


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] if ends[0] == ends[1] else (1 - share) * ends[0] + share * ends[1]


def stages_of(text: str, timestep_fs: float) -> tuple[Stage, ...]:
    """The stages that a schedule names; UsageError for one that cannot be read."""
    stages: list[Stage] = []
    for part in _parts(text):
        stage = _stage(part.strip(), stages[-1].last if stages else 0, timestep_fs)
        before = stages[-1].pressure_gpa if stages else None
        if stage.pressure_gpa is None and before is not None:
            stage = replace(stage, pressure_gpa=(before[1], before[1]))
        stages.append(stage)
    return tuple(stages)


def ends_in_relaxation(text: str) -> bool:
    """Whether the last stage of a schedule is a relaxation."""
    return text.rpartition(",")[2].strip().lower() == RELAX


def _parts(text: str) -> list[str]:
    """The stages of dynamics as they are written."""
    parts = text.split(",")
    return parts[:-1] if len(parts) > 1 and ends_in_relaxation(text) else parts


def _stage(text: str, first: int, timestep_fs: float) -> Stage:
    found = _STAGE.fullmatch(text)
    if found is None:
        raise UsageError(f"'{text}' is no stage of a schedule.", hint=EXAMPLE)
    temperatures = _ends(found["t"], found["t_end"])
    pressures = None if found["p"] is None else _ends(found["p"], found["p_end"])
    if min(temperatures) <= 0 or not np.isfinite([*temperatures, *(pressures or ())]).all():
        raise UsageError("Temperatures of a schedule must be positive and finite.", where=f"stage '{text}'")
    for pressure in pressures or ():
        check_pressure(pressure, where=f"stage '{text}'")
    length, unit = float(found["length"]), found["unit"].lower()
    if unit == "k/ps":
        change = abs(temperatures[1] - temperatures[0])
        if change == 0:
            raise UsageError("A rate needs two temperatures.", where=f"stage '{text}'", hint=EXAMPLE)
        length, unit = (change / length if length > 0 else length), "ps"
    steps = length if unit == "steps" else length * _FS[unit] / timestep_fs
    if not 0 < steps < MOST_STEPS or round(steps) < 1:
        raise UsageError("A stage must last at least one time step.", where=f"stage '{text}'")
    if unit == "steps" and steps != round(steps):
        raise UsageError("A number of steps must be whole.", where=f"stage '{text}'")
    return Stage(first, first + round(steps), temperatures, pressures)


def _ends(start: str, end: str | None) -> tuple[float, float]:
    return float(start), float(start if end is None else end)


def stage_at(stages: tuple[Stage, ...], step: int) -> Stage:
    """The stage to which a step belongs; step 0 to the first, steps beyond the end to the last."""
    return next((stage for stage in stages if step <= stage.last), stages[-1])
