"""Which teacher a run asks, from its settings; and ``teacher.yaml``, which says who gave the labels of a
folder."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from ..errors import UsageError
from ..io.summary import plain, read_summary, write_text_atomic
from ..machine.packages import is_installed
from ..zoo.names import locate
from .labels import TeacherFacts, TeacherSpec
from .process import lacking, no_interpreter
from .settings import LabelSettings
from .teachers.names import NAMED
from .weights import check_weights, resolved_weights

_SAME = ("calculator", "kwargs", "method", "method_version")
"""What must be the same for labels of one folder."""


def teacher_spec(settings: LabelSettings) -> TeacherSpec:
    """The teacher that settings name, with absolute paths; weights are checked and unpacked.

    Raises:
        UsageError: weights that are missing, or that this teacher has not.
        ModelError: weights that cannot be unpacked.
    """
    name, entry = settings.calculator, NAMED.get(settings.calculator)
    _check_has_weights(settings)
    if entry is None and ":" not in name and os.path.exists(name):
        name = str(Path(name).absolute())
    return TeacherSpec(
        name=name,
        method=settings.method,
        weights=None if settings.weights is None else str(resolved_weights(Path(settings.weights))),
        head=settings.head,
        kwargs=settings.kwargs,
        device=settings.device,
        dtype=settings.dtype,
    )


def check_teacher(settings: LabelSettings) -> None:
    """Raise what the start of a teacher would, as far as files and names tell: nothing is started or
    unpacked.

    Raises:
        UsageError: weights or an interpreter that are not there.
        ModelError: the package of a teacher is not installed here, or no model has the name.
    """
    name, entry, python = settings.calculator, NAMED.get(settings.calculator), settings.python
    _check_has_weights(settings)
    if settings.weights is not None:
        check_weights(Path(settings.weights))
    if python is not None and shutil.which(python) is None:
        raise no_interpreter(python, "there is no such program")
    if entry is not None and python is None and not is_installed(entry.package):
        raise lacking(entry.package, name, sys.executable)
    if entry is None and ":" not in name:
        locate(name, may_fetch=False)


def _check_has_weights(settings: LabelSettings) -> None:
    """UsageError for a teacher that needs weights and was given none."""
    entry = NAMED.get(settings.calculator)
    if entry is not None and entry.needs_weights and settings.weights is None:
        raise UsageError(
            f"The package {entry.package} brings no weights for {entry.name}.",
            where="--weights",
            hint=f"get them ({entry.weights_licence}) and name the file; docs/labelling.md says where",
        )


def check_same(path: Path, spec: TeacherSpec, facts: TeacherFacts) -> None:
    """UsageError where the labels of a folder come from another teacher, naming what differs."""
    old, new = read_summary(path), _record(spec, facts)
    if old is None:
        return
    differs = [f"{key} {old.get(key)!r} is now {new[key]!r}" for key in _SAME if old.get(key) != new[key]]
    if differs:
        raise UsageError(
            f"The folder holds labels of another teacher: {'; '.join(differs)}.",
            where=str(path.parent),
            hint="choose another -o DIR, or --overwrite",
        )


def told_method(path: Path) -> str | None:
    """Method and version of the teacher that such a file names; None: there is none, or it names none."""
    record = read_summary(path)
    if record is None or "method" not in record:
        return None
    return f"{record['method']} ({record.get('method_version')})"


def write_teacher(path: Path, spec: TeacherSpec, facts: TeacherFacts) -> None:
    """Write who gives the labels of a folder, with licences and citation."""
    write_text_atomic(
        path, yaml.safe_dump(_record(spec, facts), sort_keys=False, allow_unicode=True, width=110)
    )


def _record(spec: TeacherSpec, facts: TeacherFacts) -> dict[str, Any]:
    entry = NAMED.get(spec.name)
    record: dict[str, Any] = {
        "calculator": spec.name,
        "kwargs": dict(spec.kwargs),
        "method": facts.method,
        "method_version": facts.version,
    }
    if entry is not None:
        names = ("domain", "licence", "weights_licence", "training_data", "citation")
        record |= {name: getattr(entry, name) for name in names} | {"level_of_theory": entry.level}
    return plain(record)  # type: ignore[no-any-return]
