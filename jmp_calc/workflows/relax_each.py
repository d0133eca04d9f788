"""Many relaxations side by side: every structure has its own optimizer, all are evaluated together.

Where one has ended the next one enters, so that the batches stay full. With a calculator that has no batch
the structures take turns; the numbers are those of one after the other either way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..machine.signals import DeferredSignals, Interrupted
from .answers import Calculators, StandIn, answer
from .common import working_copy
from .relax_result import RelaxResult
from .relax_run import Relaxation
from .relax_settings import RelaxSettings

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

TOGETHER = 64
"""Structures that are relaxed side by side: what a killed run loses is at most their work."""
ATOMS_TOGETHER = 4096
"""Or fewer of them with about so many atoms: BFGS keeps a matrix of each."""


@dataclass(frozen=True, eq=False)
class Ended:
    """A relaxation that came to its end, by the number of its structure."""

    number: int
    outcome: RelaxResult | Exception
    """What came out, or why nothing did."""


@dataclass(frozen=True, eq=False)
class _Active:
    run: Relaxation
    steps: Iterator[None]


def relax_each(
    structures: Iterable[tuple[int, Atoms]],
    settings: RelaxSettings,
    *,
    calc: Calculator | None = None,
    together: int = TOGETHER,
    signals: DeferredSignals | None = None,
) -> Iterator[Ended]:
    """Relax copies of numbered structures, ``together`` at a time; gives each as it ends.

    Args:
        structures: taken one by one as others end.
        settings: the same for all.
        calc: calculator of all; that of each structure if none is given.
        together: as many are active at once, or fewer large ones.
        signals: asked between two rounds.

    Returns:
        Ended in the order in which they end; any error of one structure is its outcome.

    Raises:
        Interrupted: a signal has arrived. The errors of ``structures``.
    """
    calculators: dict[int, Calculators] = {}
    source, active = iter(structures), dict[int, _Active]()
    more = True
    while True:
        while more and len(active) < together and _atoms(active) < ATOMS_TOGETHER:
            number, atoms = next(source, (-1, None))
            if atoms is None:
                more = False
                break
            try:
                active[number] = _started(atoms, calc or atoms.calc, settings, calculators)
            except Exception as error:  # any calculator, spglib: it is told of this structure, others go on
                yield Ended(number, error)
        if not active:
            return
        answer([one.run.atoms for one in active.values()])
        yield from _advanced(active)
        if signals is not None and signals.received is not None:
            raise Interrupted(signals.received)


def _atoms(active: dict[int, _Active]) -> int:
    return sum(len(one.run.atoms) for one in active.values())


def _started(
    atoms: Atoms,
    calculator: Calculator | None,
    settings: RelaxSettings,
    calculators: dict[int, Calculators],
) -> _Active:
    """A relaxation that waits for its first forces; errors as of ``relax``."""
    if calculator is not None:
        if id(calculator) not in calculators:
            calculators[id(calculator)] = Calculators(calculator)
        calculator = calculators[id(calculator)].of(atoms)
    work = working_copy(atoms, calculator)
    own = work.calc
    work.calc = StandIn(own)
    run = Relaxation(work, settings, own)
    steps = run.steps()
    next(steps)
    return _Active(run, steps)


def _advanced(active: dict[int, _Active]) -> Iterator[Ended]:
    """Let every relaxation use its answers; those that end are taken out and given."""
    for number, one in list(active.items()):
        outcome = _outcome(one)
        if outcome is not None:
            del active[number]
            yield Ended(number, outcome)


def _outcome(one: _Active) -> RelaxResult | Exception | None:
    """What came out at the next step; None: it asks again."""
    try:
        for _ in one.steps:
            return None
        return one.run.result()
    except Exception as error:  # any calculator: it is told of this structure, others go on
        return error
