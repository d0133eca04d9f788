"""What a worker does, in whatever process or on whatever machine an executor runs it.

Only functions and plain objects go there: an order with its structures, and the calculator as bytes or as a
function that makes it. A worker makes the calculator once and keeps it for the orders that follow.
"""

from __future__ import annotations

import functools
import importlib
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from typing import TYPE_CHECKING, Any, TypeAlias

from ..arguments import a_calculator
from ..errors import JMPWarning
from ..machine.device_claim import use_own_device
from ..workflows.answers import Calculators
from ..workflows.outcomes import Outcome
from ..workflows.potentials import potential
from .settings import Task, TaskSettings
from .tasks import outcomes

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

    Made: TypeAlias = Calculator | Callable[[], Calculator]


@dataclass(frozen=True)
class Order:
    """What a worker is asked for."""

    task: Task
    settings: TaskSettings
    batch: int
    structures: tuple[Atoms, ...]
    calculator: bytes
    """Pickled: a calculator, or a function that makes one."""
    campaign: str
    """Who asks: a function that is pickled by its name may make something else for the next."""
    threads: int | None = None
    """Of a network in this process; None: as it is."""


@dataclass(frozen=True)
class Reply:
    """What it answers: an outcome for each structure as plain data, and what it warned of."""

    records: tuple[dict[str, Any], ...]
    warnings: tuple[str, ...]
    potential: dict[str, Any]
    """What identifies the calculator that it used."""


def compute(order: Order) -> Reply:
    """Carry out an order; errors of structures are in their outcomes, those of the calculator are raised."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", JMPWarning)
        calculators, words = _opened(order)
        found = _outcomes(order, calculators)
    told = dict.fromkeys(str(one.message) for one in caught if issubclass(one.category, JMPWarning))
    return Reply(tuple(outcome.to_json() for outcome in found), tuple(told), words)


def _outcomes(order: Order, calculators: Calculators) -> list[Outcome]:
    if order.threads is not None and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(order.threads)
    bare = [_bare(atoms) for atoms in order.structures]
    return outcomes(order.task, bare, order.settings, calculators, order.batch)


def _bare(atoms: Atoms) -> Atoms:
    copy: Atoms = atoms.copy()
    return copy


def _opened(order: Order) -> tuple[Calculators, dict[str, Any]]:
    """The calculator of an order, and what identifies it."""
    use_own_device()
    return _made_once(order.calculator, order.campaign)


@functools.lru_cache(maxsize=2)
def _made_once(calculator: bytes, campaign: str) -> tuple[Calculators, dict[str, Any]]:
    """Once in each process for a campaign."""
    if b"jmp_calc.calculator" in calculator:
        importlib.import_module("torch")  # so that the network is loaded onto the device of this process
    opened = made(pickle.loads(calculator))
    return Calculators(opened), potential(opened)


def made(given: Any) -> Calculator:
    """A calculator, or what a function or class makes; UsageError where that is none."""
    makes = (callable(given) and not hasattr(given, "get_property")) or isinstance(given, type)
    return a_calculator(given() if makes else given)


def packed(calculator: Made) -> bytes:
    """The bytes of a calculator or of a function that makes one; what cannot be pickled raises its error."""
    return pickle.dumps(calculator)


def started() -> None:
    """First thing in a process of ours: it leaves Ctrl-C to its parent, and ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    """A killed parent closes its end; the queue that this process waits at would never say so."""
    connection.wait([sentinel])
    os._exit(1)
