"""Settings of a campaign: what is computed of every structure, and how the work is divided."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from ..arguments import plain
from ..errors import UsageError
from ..workflows.md_settings import MDSettings
from ..workflows.phonon.settings import PhononSettings
from ..workflows.relax_settings import RelaxSettings
from ..workflows.statics.elastic_settings import ElasticSettings
from ..workflows.statics.eos_settings import EosSettings

Task = Literal["singlepoint", "relax", "md", "eos", "elastic", "phonons"]


@dataclass(frozen=True, kw_only=True)
class SinglepointSettings:
    """Energy, forces and, of crystals, stress: there is nothing to choose."""

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return {}


TaskSettings: TypeAlias = (
    SinglepointSettings | RelaxSettings | MDSettings | EosSettings | ElasticSettings | PhononSettings
)
SETTINGS: Mapping[Task, type[TaskSettings]] = {
    "singlepoint": SinglepointSettings,
    "relax": RelaxSettings,
    "md": MDSettings,
    "eos": EosSettings,
    "elastic": ElasticSettings,
    "phonons": PhononSettings,
}
BATCHED = ("singlepoint", "relax")
"""Tasks that take several structures at once; the others batch what they make of one."""


@dataclass(frozen=True, kw_only=True)
class ScreenSettings:
    """What to compute of every structure; the fields are the arguments of ``screen`` and explained there."""

    task: Task = "relax"
    settings: TaskSettings | None = None
    batch: int = 16
    processes: int = 1
    retry: bool = False

    def __post_init__(self) -> None:
        plain(self)
        if self.task not in get_args(Task):
            raise UsageError(f"Unknown task '{self.task}'.", hint=f"one of {', '.join(get_args(Task))}")
        wanted = SETTINGS[self.task]
        if self.settings is None:
            object.__setattr__(self, "settings", wanted())
        if not isinstance(self.settings, wanted):
            fact = f"The task {self.task} needs {wanted.__name__}, got {type(self.settings).__name__}."
            raise UsageError(fact)
        if isinstance(self.settings, MDSettings):
            self.settings.resolved()  # what contradicts itself, before all structures fail of it
        for name in ("batch", "processes"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}.")

    @property
    def task_settings(self) -> TaskSettings:
        """Those of the task, filled in."""
        assert self.settings is not None
        return self.settings

    @property
    def unit(self) -> int:
        """Structures that a worker takes at once."""
        return 2 * self.batch if self.task in BATCHED else 1

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return {
            "task": self.task,
            "settings": self.task_settings.to_dict(),
            "batch": self.batch,
            "processes": self.processes,
            "retry": self.retry,
        }


def task_settings(task: Task, given: Mapping[str, Any]) -> TaskSettings:
    """The settings of a task from values by name.

    Raises:
        UsageError: a name or value that the task has not.
    """
    kind = SETTINGS[task]
    names = [field.name for field in fields(kind)]
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names) or 'none'}"
            raise UsageError(f"The task {task} has no setting '{name}'.", hint=hint)
    hints = get_type_hints(kind)
    try:
        return kind(**{name: _of_kind(name, value, hints[name]) for name, value in given.items()})
    except (TypeError, ValueError) as error:
        raise UsageError(f"A setting of the task {task} is of the wrong kind: {error}.") from error


def _of_kind(name: str, value: Any, hint: Any) -> Any:
    """A value as the annotation of its setting has it: text of a command line knows no kinds.

    Raises:
        TypeError: a value that is none, told before a campaign begins rather than by each structure.
    """
    kinds = get_args(hint) if get_origin(hint) in (UnionType, Union) else (hint,)
    for kind in kinds:
        if kind is type(None) and value is None:
            return None
        if kind is bool and isinstance(value, bool):
            return value
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if kind is int and number and float(value).is_integer():
            return int(value)
        if kind is float and number:
            return float(value)
        if get_origin(kind) is tuple and isinstance(value, list | tuple):
            return tuple(value)
    worded = any(kind is str or get_origin(kind) is Literal for kind in kinds)
    if worded and isinstance(value, str | int | float):
        return str(value)
    words = " or ".join(_KINDS.get(get_origin(kind) or kind, str(kind)) for kind in kinds)
    raise TypeError(f"{name} is {words}, got {value!r}")


_KINDS: Mapping[Any, str] = {
    tuple: "a list of numbers",
    Literal: "a word",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    type(None): "null",
}
