"""Many related structures (strained, scaled) at once: evaluated in batches, relaxed where forces are left."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import NotConvergedError, UsageError
from ...io.progress import Progress
from ...io.structures import NamedFrame
from ...machine.signals import deferred_signals
from ..batches import computed
from ..common import output_path
from ..kept import Kept
from ..outcomes import Outcome
from ..relax_each import TOGETHER, relax_each
from ..relax_many import JOURNAL, ManyRun
from ..relax_result import RelaxResult
from ..relax_settings import CellMode, RelaxSettings

if TYPE_CHECKING:
    from ase import Atoms

GO_ON = "allow more steps (--relax-steps) or larger forces (--fmax), or go on with --allow-unconverged"


def kept_relaxations(out: str | os.PathLike[str] | None, prefix: str, *, resume: bool) -> Path | None:
    """The file in which a run keeps its relaxations, without those of an earlier run unless it goes on; None
    without a folder."""
    if out is None:
        return None
    path = output_path(out, JOURNAL, prefix)
    if not resume:
        path.unlink(missing_ok=True)
    return path


def evaluated(
    structures: Sequence[Atoms],
    properties: Sequence[str],
    *,
    what: str,
    quiet: bool,
    kept: Kept | None = None,
) -> list[Atoms]:
    """Copies that carry their results (eV, eV/Å without constraints, eV/Å³) and no other calculator.

    Args:
        structures: with one calculator for all.
        properties: energy, forces, stress.
        what: name of one structure in messages, such as "strained cell".
        quiet: no progress bar.
        kept: as in ``computed``.

    Raises:
        BadInputError: a result that is not finite. UsageError: a calculator without them.
        Interrupted: after SIGINT or SIGTERM.
    """
    from ase.calculators.singlepoint import SinglePointCalculator

    found: list[Atoms] = []
    results = _results(structures, properties, what, quiet, kept)
    for atoms, one in zip(structures, results, strict=True):
        frame = atoms.copy()
        frame.calc = SinglePointCalculator(frame, **one)
        found.append(frame)
    return found


def _results(
    structures: Sequence[Atoms], properties: Sequence[str], what: str, quiet: bool, kept: Kept | None
) -> list[dict[str, Any]]:
    """As ``computed``; UsageError for a calculator that does not give them."""
    from ase.calculators.calculator import PropertyNotImplementedError

    try:
        return computed(
            structures,
            properties,
            bar=what,
            name=lambda number: _named(what, number, structures),
            done=f"were done ({what})",
            quiet=quiet,
            kept=kept,
        )
    except PropertyNotImplementedError as err:
        raise UsageError(
            f"The calculator gives no {' and '.join(properties)} for a {what} ({err}).",
            hint="results read from a file are of one structure only: set a calculator that computes",
        ) from err


def relaxed(
    structures: Sequence[Atoms],
    *,
    fmax: float,
    steps: int,
    allow_unconverged: bool,
    what: str,
    quiet: bool,
    cell: CellMode = "none",
    known: Sequence[Atoms] | None = None,
    journal: Path | None = None,
    kept: Kept | None = None,
) -> list[Atoms]:
    """Copies with relaxed positions (and ``cell``) and the calculator, relaxed side by side; where symmetry
    or luck leaves no force above ``fmax`` (eV/Å), the positions as they are. ``known``: what ``evaluated``
    gave with forces. ``journal``: a file that keeps relaxations as they end, for a run that goes on; ``kept``
    as in ``computed``, for the forces before.

    Raises:
        NotConvergedError: one that does not reach ``fmax`` in ``steps`` steps, or ends above its start,
            unless ``allow_unconverged``. The errors of ``relax``.
    """
    frames = known or structures
    if known is None and cell == "none":
        frames = evaluated(structures, ["forces"], what=what, quiet=quiet, kept=kept)
    found = list(structures)
    tense = [
        (number, atoms)
        for number, (atoms, frame) in enumerate(zip(structures, frames, strict=True))
        if cell != "none" or np.linalg.norm(frame.get_forces(), axis=1).max() > fmax
    ]
    settings = RelaxSettings(fmax=fmax, steps=steps, cell=cell)
    if journal is not None and tense:
        for (number, atoms), end in zip(tense, _kept(tense, settings, journal, quiet), strict=True):
            if end.atoms is None or end.status == "failed" or (end.status != "ok" and not allow_unconverged):
                fact = f"The {_named(what, number, structures)} is not relaxed: {end.error}"
                raise NotConvergedError(fact, hint=GO_ON)
            found[number] = _moved(atoms, end.atoms)
        return found
    ended: dict[int, RelaxResult] = {}
    with deferred_signals() as signals, Progress(f"relax {what}", len(tense), quiet=quiet) as progress:
        for one in relax_each(tense, settings, signals=signals):
            if isinstance(one.outcome, Exception):
                raise one.outcome
            ended[one.number] = one.outcome
            progress.update(f"{one.outcome.n_steps} steps")
    for number, result in sorted(ended.items()):
        if not (result.converged or allow_unconverged):
            raise _not_relaxed(_named(what, number, structures), result, fmax)
        found[number] = result.atoms
    return found


def _kept(
    tense: Sequence[tuple[int, Atoms]], settings: RelaxSettings, journal: Path, quiet: bool
) -> list[Outcome]:
    """How relaxations ended, those of the journal taken from there."""
    frames = [NamedFrame(atoms, "", number) for number, atoms in tense]
    return [
        row.outcome for row in ManyRun(frames, settings, None, TOGETHER).result(journal, quiet=quiet).rows
    ]


def _moved(atoms: Atoms, end: Atoms) -> Atoms:
    """A structure at the place and in the cell of its end, with what else it has."""
    copy = atoms.copy()
    copy.set_cell(end.cell.array, scale_atoms=False, apply_constraint=False)
    copy.positions[:] = end.positions
    copy.calc = atoms.calc
    return copy


def _not_relaxed(name: str, result: RelaxResult, fmax: float) -> NotConvergedError:
    left = result.stress_left_gpa
    stress = "" if left is None else f" and a stress of {left:.2g} GPa"
    return NotConvergedError(
        f"The {name} is not relaxed: a force of {result.fmax:.2g} eV/Å{stress} was left after "
        f"{result.n_steps} steps, wanted {fmax:g} eV/Å.",
        hint=GO_ON,
    )


def _named(what: str, number: int, structures: Sequence[Atoms]) -> str:
    """One of several structures with its number."""
    return what if len(structures) == 1 else f"{what} {number}"
