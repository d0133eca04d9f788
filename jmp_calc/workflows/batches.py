"""Many structures (displaced, strained, scaled) at one calculator: in batches, with a bar, until a signal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInputError
from ..io.progress import Progress
from ..machine.signals import Interrupted, deferred_signals
from .common import jmp_calculator, raw_results
from .kept import Kept

if TYPE_CHECKING:
    from ase import Atoms

ATOMS_TOGETHER = 512
"""Structures that go to the calculator at once have about so many atoms."""


def computed(
    structures: Sequence[Atoms],
    properties: Sequence[str],
    *,
    bar: str,
    name: Callable[[int], str],
    done: str,
    quiet: bool,
    kept: Kept | None = None,
) -> list[dict[str, Any]]:
    """Results of ``raw_results`` (eV, eV/Å without constraints, eV/Å³) of structures with one calculator.

    Args:
        structures: of about the same size.
        properties: energy, forces, stress.
        bar: title of the progress bar.
        name: of the structure with a number, in messages.
        done: what an interruption says after "3 of 14".
        quiet: no progress bar.
        kept: results that are there already are taken from it, and new ones go into it.

    Raises:
        BadInputError: a result that is not finite. Interrupted: after SIGINT or SIGTERM.
        PropertyNotImplementedError: a calculator without them.
    """
    found = {} if kept is None else _found(kept, structures, properties)
    left = [number for number in range(len(structures)) if number not in found]
    together = max(ATOMS_TOGETHER // max(len(structures[0]), 1), 1)
    if jmp_calculator(structures[0].calc) is None:
        together = 1  # it takes them one by one: each can be kept
    bar_of = Progress(bar, len(structures), initial=len(found), quiet=quiet)
    with deferred_signals() as signals, bar_of as progress:
        while left:
            asked, left = left[:together], left[together:]
            results = raw_results([structures[number] for number in asked], properties)
            for number, one in zip(asked, results, strict=True):
                _check_finite(one, properties, name(number))
                found[number] = one
                progress.update(f"{len(structures[0])} atoms")
            if kept is not None:
                kept.keep([structures[number] for number in asked], results)
            if signals.received is not None:
                goes_on = "" if kept is None else "; --resume goes on"
                text = f"{len(found)} of {len(structures)} {done}{goes_on}"
                raise Interrupted(signals.received, text)
    return [found[number] for number in range(len(structures))]


def _found(kept: Kept, structures: Sequence[Atoms], properties: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Results that are kept, by the number of the structure."""
    known = ((number, kept.find(atoms, properties)) for number, atoms in enumerate(structures))
    return {number: results for number, results in known if results is not None}


def _check_finite(results: dict[str, Any], properties: Sequence[str], name: str) -> None:
    """BadInputError for results that are not finite."""
    if not all(np.isfinite(value).all() for value in results.values()):
        kind = "forces" if list(properties) == ["forces"] else "results"
        raise BadInputError(f"The {kind} of {name} are not finite.")


def displaced_forces(
    structures: Sequence[Atoms], *, bar: str, what: str, quiet: bool, kept: Kept | None = None
) -> np.ndarray:
    """Raw forces (n, n_atoms, 3) in eV/Å of displaced copies of one structure; ``what`` one is called.

    Errors and ``kept`` as in ``computed``.
    """
    results = computed(
        structures,
        ["forces"],
        bar=bar,
        name=lambda number: f"{what} {number}",
        done="displacements were done",
        quiet=quiet,
        kept=kept,
    )
    return np.array([one["forces"] for one in results])
