"""The physics battery on any ASE calculator: a verdict on each thing that a potential must obey.

result = check(JMPCalculator("jmp-xs", dtype="float64"))
result.passed, result.failed, result.write("report")
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from ...arguments import names
from ...errors import JMPError, JMPWarning, OutOfMemoryError
from ...io.outdir import claimed, with_prefix
from ...io.progress import Progress, Say, silent
from ...machine.signals import Interrupted, deferred_signals
from .item import Item
from .items import ITEMS
from .probe import Probe
from .result import OUTPUTS, CheckResult
from .settings import SLOW, CheckSettings, Precision
from .subjects import Subjects, subjects
from .verdict import NotApplicable, Status, Verdict

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator


def check(
    calculator: Calculator,
    *,
    only: Iterable[str] = CheckSettings.only,
    precision: Precision = CheckSettings.precision,
    seed: int = CheckSettings.seed,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    say: Say = silent,
    quiet: bool = True,
) -> CheckResult:
    """Measure what every potential must obey: derivatives, symmetries, sums, smoothness, copies, refusals.

    The structures are small and made of elements that the calculator computes.

    Args:
        calculator: any ASE calculator; it is copied, and keeps its cache.
        only: names of the checks to run; all but those of minutes if none are given. Default: ().
        precision: in which the calculator works, float64 or float32, which decides the limits; auto takes
            that of a JMP model, and float64 for others. Default: "auto".
        seed: random displacements and structures. Default: 0.
        out: folder for check.html and check.svg; nothing is written without one. Default: None.
        prefix: PREFIX- before every file name. Default: "".
        say: is given the verdict of each check as a line. Default: silent.
        quiet: no progress bar. Default: True.

    Returns:
        CheckResult; look at ``passed``, nothing is raised when a check fails.

    Raises:
        UsageError: an unknown check, a calculator that computes none of the structures, a folder into which
            another job writes. OutOfMemoryError: not enough memory. Interrupted: after SIGINT or SIGTERM.
    """
    settings = CheckSettings(only=names(only, "only"), precision=precision, seed=seed)
    with claimed(out, (with_prefix(name, prefix) for name in OUTPUTS)), warnings.catch_warnings():
        warnings.simplefilter("ignore", JMPWarning)  # of close or unseen pairs, which the checks make
        result = _checked(calculator, settings, say, quiet)
        if out is not None:
            result.write(out, prefix=prefix)
    return result


def precision_of(calculator: Calculator, settings: CheckSettings) -> str:
    """float64 or float32: as the settings say, else that of a JMP model, else float64."""
    own = getattr(getattr(calculator, "info", None), "dtype", None) or "float64"
    return own if settings.precision == "auto" else settings.precision


def _checked(calculator: Calculator, settings: CheckSettings, say: Say, quiet: bool) -> CheckResult:
    probe = Probe(calculator, precision_of(calculator, settings), settings.seed)
    pool, verdicts = subjects(probe), list[Verdict]()
    with (
        deferred_signals() as signals,
        Progress("check", len(settings.chosen), quiet=quiet) as progress,
        np.errstate(all="ignore"),
    ):
        for item in ITEMS:
            if item.name in settings.chosen:
                verdicts.append(_verdict(item, probe, pool))
                say(str(verdicts[-1]))
                progress.update(item.name)
            elif item.name in SLOW and not settings.only:
                verdicts.append(_line(item, probe, "not applicable", f"takes minutes: --only {item.name}"))
            if signals.received is not None:
                done = f"{len(verdicts)} of {len(settings.chosen)} checks were done"
                raise Interrupted(signals.received, done)
    info = getattr(calculator, "info", None)
    return CheckResult(
        calculator=str(getattr(info, "name", None) or type(calculator).__name__),
        heads=probe.heads,
        precision=probe.precision,
        structures=tuple(pool.names()),
        verdicts=tuple(verdicts),
        settings=settings,
    )


def _line(item: Item, probe: Probe, status: Status, note: str, wall_s: float = 0.0) -> Verdict:
    """A verdict without a number."""
    limit = item.limit(probe.precision)
    return Verdict(
        item.name, item.title, status, None, limit, item.unit, "", note, item.why, round(wall_s, 2)
    )


def _verdict(item: Item, probe: Probe, pool: Subjects) -> Verdict:
    """Run one check; an error of the calculator is a failure with its words."""
    from ase.calculators.calculator import PropertyNotImplementedError

    started = time.monotonic()
    try:
        measured = item.measure(probe, pool)
    except (NotApplicable, PropertyNotImplementedError) as error:
        return _line(item, probe, "not applicable", str(error), time.monotonic() - started)
    except OutOfMemoryError:
        raise
    except Exception as error:  # of foreign calculators anything: it is the verdict, and told in its words
        name = "" if isinstance(error, JMPError) else f"{type(error).__name__}: "
        return _line(item, probe, "fail", f"{name}{error}", time.monotonic() - started)
    limit = item.limit(probe.precision)
    return Verdict(
        item.name,
        item.title,
        "pass" if measured.value <= limit else "fail",
        measured.value,
        limit,
        item.unit,
        measured.where,
        measured.note,
        item.why,
        round(time.monotonic() - started, 2),
    )
