"""What is computed of the structures of a unit: an outcome for each, whatever happens to the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInputError, NotConvergedError
from ..machine.signals import deferred_signals
from ..units import GPA_PER_EV_A3
from ..workflows.answers import Calculators, StandIn, answer
from ..workflows.common import has_stress, snapshot, working_copy
from ..workflows.outcomes import Outcome, failure, head_of, of_relaxation, scalars
from ..workflows.relax_cell import fills_space
from ..workflows.relax_each import relax_each
from .settings import (
    ElasticSettings,
    EosSettings,
    MDSettings,
    PhononSettings,
    RelaxSettings,
    Task,
    TaskSettings,
)

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator


def outcomes(
    task: Task, structures: Sequence[Atoms], settings: TaskSettings, calculators: Calculators, batch: int
) -> list[Outcome]:
    """What came out for each structure; errors of one are its outcome."""
    if isinstance(settings, RelaxSettings):
        return _relaxations(structures, settings, calculators, batch)
    if task == "singlepoint":
        found = _singlepoints(structures, calculators, batch)
    else:
        found = [_alone(task, atoms, settings, calculators.of(atoms)) for atoms in structures]
    head = head_of(calculators.of(structures[0]))  # a unit has structures of one kind
    return [replace(one, values={**head, **one.values}) if one.values else one for one in found]


def _relaxations(
    structures: Sequence[Atoms], settings: RelaxSettings, calculators: Calculators, batch: int
) -> list[Outcome]:
    calculator = calculators.of(structures[0])
    found: dict[int, Outcome] = {}
    with deferred_signals() as signals:  # between two rounds, not after all of the unit
        numbered = enumerate(structures)
        for ended in relax_each(numbered, settings, calc=calculator, together=batch, signals=signals):
            found[ended.number] = of_relaxation(ended.outcome, structures[ended.number])
    return [found[number] for number in range(len(structures))]


def _singlepoints(structures: Sequence[Atoms], calculators: Calculators, batch: int) -> list[Outcome]:
    found: list[Outcome] = []
    for first in range(0, len(structures), batch):
        prepared = [_prepared(atoms, calculators) for atoms in structures[first : first + batch]]
        answer([work for work in prepared if not isinstance(work, Exception)])
        given = structures[first : first + batch]
        found += [_singlepoint(work, atoms) for work, atoms in zip(prepared, given, strict=True)]
    return found


def _prepared(atoms: Atoms, calculators: Calculators) -> Any:
    """A copy that waits for its energy, or the error of it."""
    try:
        work = working_copy(atoms, calculators.of(atoms))
    except Exception as error:  # any calculator: it is told of this structure, others go on
        return error
    work.calc = StandIn(work.calc)
    return work


def _singlepoint(work: Any, given: Atoms) -> Outcome:
    try:
        if isinstance(work, Exception):
            raise work
        stress = has_stress(work)
        frame = snapshot(work, stress=stress)
        results = frame.calc.results
        if not all(np.isfinite(value).all() for value in results.values()):
            raise BadInputError("Energy, forces or stress are not finite.")
    except Exception as error:  # any calculator: it is told of this structure, others go on
        return failure(error, given)
    values: dict[str, Any] = {
        "energy_ev": results["energy"],
        "energy_ev_per_atom": results["energy"] / len(frame),
        "fmax_ev_per_a": float(np.linalg.norm(results["forces"], axis=1).max()),
    }
    if stress and fills_space(frame):
        values["pressure_gpa"] = float(-results["stress"][:3].mean() * GPA_PER_EV_A3)
    return Outcome("ok", values=values, atoms=frame)


def _alone(task: Task, atoms: Atoms, settings: TaskSettings, calculator: Calculator) -> Outcome:
    """A workflow of one structure."""
    try:
        return _WORKFLOWS[task](atoms, settings, calculator)
    except Exception as error:  # any calculator, phonopy: it is told of this structure, others go on
        return failure(error, atoms)


def _eos(atoms: Atoms, settings: EosSettings, calculator: Calculator) -> Outcome:
    from ..workflows.statics.eos import eos

    result = eos(atoms, calc=calculator, **settings.to_dict())
    outcome = Outcome("ok", values=scalars(result.to_dict()), atoms=_start(atoms))
    try:
        result.require_minimum()
    except NotConvergedError as error:
        return replace(outcome, status="not-converged", error=error.fact)
    return outcome


def _elastic(atoms: Atoms, settings: ElasticSettings, calculator: Calculator) -> Outcome:
    from ..workflows.statics.elastic import elastic

    result = elastic(atoms, calc=calculator, **settings.to_dict())
    return Outcome("ok", values=scalars(result.to_dict()), atoms=_start(result.atoms))


def _phonons(atoms: Atoms, settings: PhononSettings, calculator: Calculator) -> Outcome:
    from ..workflows.phonon.phonons import phonons

    result = phonons(atoms, calc=calculator, **settings.to_dict())
    values = {**scalars(result.to_dict()), "n_imaginary": len(result.imaginary)}
    return Outcome("ok", values=values, atoms=_start(atoms))


def _md(atoms: Atoms, settings: MDSettings, calculator: Calculator) -> Outcome:
    from ..workflows.md import md

    result = md(atoms, calc=calculator, **settings.to_dict())
    values = scalars(result.to_dict())
    values.pop("ns_per_day", None)  # of this machine, not of this structure
    stress = settings.ensemble == "npt"
    return Outcome("ok", values=values, atoms=snapshot(result.atoms, stress=stress))


_WORKFLOWS: Mapping[str, Callable[[Any, Any, Any], Outcome]] = {
    "eos": _eos,
    "elastic": _elastic,
    "phonons": _phonons,
    "md": _md,
}


def _start(atoms: Atoms) -> Atoms:
    """A copy with its energy where that is known already, and no calculator else."""
    copy: Atoms = atoms.copy()
    with suppress(AttributeError, KeyError):
        if not atoms.calc.check_state(atoms):
            return snapshot(atoms)
    return copy
