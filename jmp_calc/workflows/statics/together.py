"""Many related structures (strained, scaled) at once: evaluated in batches, relaxed where forces are left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import NotConvergedError, UsageError
from ..batches import computed
from ..kept import Kept
from ..relax import relax
from ..relax_settings import CellMode

if TYPE_CHECKING:
    from ase import Atoms


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
) -> list[Atoms]:
    """Copies with relaxed positions (and ``cell``) and the calculator; where symmetry or luck leaves no force
    above ``fmax`` (eV/Å), the positions as they are. ``known``: what ``evaluated`` gave with forces.

    Raises:
        NotConvergedError: one that does not reach ``fmax`` in ``steps`` steps, or ends above its start,
            unless ``allow_unconverged``. The errors of ``relax``.
    """
    frames = known or structures
    if known is None and cell == "none":
        frames = evaluated(structures, ["forces"], what=what, quiet=quiet)
    found: list[Atoms] = []
    for number, (atoms, frame) in enumerate(zip(structures, frames, strict=True)):
        if cell == "none" and np.linalg.norm(frame.get_forces(), axis=1).max() <= fmax:
            found.append(atoms)
            continue
        result = relax(atoms, fmax=fmax, steps=steps, cell=cell, quiet=quiet)
        if not (result.converged or allow_unconverged):
            left = result.stress_left_gpa
            stress = "" if left is None else f" and a stress of {left:.2g} GPa"
            raise NotConvergedError(
                f"The {_named(what, number, structures)} is not relaxed: a force of {result.fmax:.2g} eV/Å"
                f"{stress} was left after {result.n_steps} steps, wanted {fmax:g} eV/Å.",
                hint="allow more steps (--relax-steps) or larger forces (--fmax), or go on with "
                "--allow-unconverged",
            )
        found.append(result.atoms)
    return found


def _named(what: str, number: int, structures: Sequence[Atoms]) -> str:
    """One of several structures with its number."""
    return what if len(structures) == 1 else f"{what} {number}"
