"""Many structures (displaced, strained, scaled) at one calculator: in batches, with a bar, until a signal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInputError
from ..io.progress import Progress
from ..machine.signals import Interrupted, deferred_signals
from .common import raw_results

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
) -> list[dict[str, Any]]:
    """Results of ``raw_results`` (eV, eV/Å without constraints, eV/Å³) of structures with one calculator.

    Args:
        structures: of about the same size.
        properties: energy, forces, stress.
        bar: title of the progress bar.
        name: of the structure with a number, in messages.
        done: what an interruption says after "3 of 14".
        quiet: no progress bar.

    Raises:
        BadInputError: a result that is not finite. Interrupted: after SIGINT or SIGTERM.
        PropertyNotImplementedError: a calculator without them.
    """
    found: list[dict[str, Any]] = []
    together = max(ATOMS_TOGETHER // max(len(structures[0]), 1), 1)
    with deferred_signals() as signals, Progress(bar, len(structures), quiet=quiet) as progress:
        while len(found) < len(structures):
            for results in raw_results(structures[len(found) : len(found) + together], properties):
                if not all(np.isfinite(value).all() for value in results.values()):
                    kind = "forces" if list(properties) == ["forces"] else "results"
                    raise BadInputError(f"The {kind} of {name(len(found))} are not finite.")
                found.append(results)
                progress.update(f"{len(structures[0])} atoms")
            if signals.received is not None:
                raise Interrupted(signals.received, f"{len(found)} of {len(structures)} {done}")
    return found


def displaced_forces(structures: Sequence[Atoms], *, bar: str, what: str, quiet: bool) -> np.ndarray:
    """Raw forces (n, n_atoms, 3) in eV/Å of displaced copies of one structure; ``what`` one is called.

    Errors as ``computed``.
    """
    results = computed(
        structures,
        ["forces"],
        bar=bar,
        name=lambda number: f"{what} {number}",
        done="displacements were done",
        quiet=quiet,
    )
    return np.array([one["forces"] for one in results])
