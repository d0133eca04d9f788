"""Any ASE calculator as a teacher: one structure after the other."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from ..labels import Labels, Teacher, TeacherFacts, TeacherSpec
from .digests import file_sha256

if TYPE_CHECKING:
    from ase import Atoms


IN_WHEEL = ("7net-0", "7net-l3i5", "7net-mf-0")


class AseTeacher:
    """An ASE calculator, made again after a structure on which it failed."""

    def __init__(self, make: Callable[[], Any], facts: TeacherFacts) -> None:
        self._make, self.facts = make, facts
        self._calculator: Any = None

    def label(self, frames: Sequence[Atoms]) -> list[Labels]:
        """Labels of each structure."""
        return [self._single(atoms) for atoms in frames]

    def _single(self, atoms: Atoms) -> Labels:
        calculator = self._make() if self._calculator is None else self._calculator
        self._calculator = None
        forces = calculator.get_property("forces", atoms)
        # The forces of smeared electrons are the derivative of their free energy.
        energy = calculator.results.get("free_energy")
        if energy is None:
            energy = calculator.get_property("energy", atoms)
        stress = None
        if atoms.pbc.all() and "stress" in getattr(calculator, "implemented_properties", ()):
            stress = calculator.get_property("stress", atoms)
        self._calculator = calculator
        return Labels(float(energy), forces, stress)


def of_factory(spec: TeacherSpec) -> Teacher:
    """The teacher, or the ASE calculator, that ``package.module:factory`` returns with the given arguments.

    Modules are also looked for in the working directory. Each process has a folder of its own for files of
    its calculator.

    Raises:
        UsageError: there is no such factory, or it takes no such arguments.
    """
    make = _factory(spec)
    calculator = _called(make, spec)
    if hasattr(calculator, "label") and hasattr(calculator, "facts"):
        return calculator  # type: ignore[no-any-return]
    _refuse_others(calculator, spec, "name a class or function that returns one, or a Teacher")
    facts = TeacherFacts(spec.method or _name(calculator), _version(calculator, spec))
    return AseTeacher(lambda: _called(make, spec), facts)


def calculator_of(name: str, kwargs: Mapping[str, Any]) -> Any:
    """The ASE calculator that ``package.module:factory`` returns with the given arguments.

    Raises:
        UsageError: there is no such factory, it takes no such arguments, or returns something else.
    """
    spec = TeacherSpec(name, kwargs=kwargs)
    calculator = _called(_factory(spec), spec)
    _refuse_others(calculator, spec, "name a class or function that returns one")
    return calculator


def _refuse_others(calculator: Any, spec: TeacherSpec, hint: str) -> None:
    """UsageError for what is no ASE calculator."""
    if not hasattr(calculator, "get_property"):
        fact = f"{spec.name} returns {type(calculator).__name__}, which is no ASE calculator."
        raise UsageError(fact, hint=hint)


def sevennet(spec: TeacherSpec) -> Teacher:
    """A SevenNet model of the wheel by name, or of a checkpoint file.

    Raises:
        UsageError: a name that is not in the wheel, which would be downloaded.
    """
    from sevenn.calculator import SevenNetCalculator

    model = spec.weights or spec.method or IN_WHEEL[0]
    if spec.weights is None and model not in IN_WHEEL:
        raise UsageError(
            f"The package sevenn has no model {model!r}.",
            where="--method",
            hint=f"one of {', '.join(IN_WHEEL)}, or the file of another one with --weights",
        )
    given = {"model": model, "device": spec.device} | ({"modal": spec.head} if spec.head else {})
    name = os.path.basename(model) + (f" {spec.head}" if spec.head else "")
    calculator = SevenNetCalculator(**given)
    known = getattr(calculator, "type_map", None)
    facts = TeacherFacts(
        f"PBE+U by SevenNet {name}",
        f"sevenn {metadata.version('sevenn')}" + _weights_note(spec.weights),
        elements=tuple(sorted(map(int, known))) if known else None,
        domain="crystals",
    )
    return AseTeacher(lambda: SevenNetCalculator(**given), facts)


def _weights_note(path: str | None) -> str:
    return "" if path is None else f", weights sha256:{file_sha256(Path(path))[:12]}"


def _factory(spec: TeacherSpec) -> Callable[..., Any]:
    module_name, _, path = spec.name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and not module_name.startswith(error.name):
            raise
        raise UsageError(
            f"There is no module {module_name!r}.",
            where=spec.name,
            hint="write package.module:factory; modules in the working directory count too",
        ) from error
    except ValueError as error:
        raise UsageError(f"{spec.name!r} names no module.", hint="write package.module:factory") from error
    for part in path.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        names = [name for name in vars(sys.modules[module_name]) if not name.startswith("_")]
        hint = f"in that module: {', '.join(names[:8])}"
        raise UsageError(f"The module {module_name} has no factory {path!r}.", where=spec.name, hint=hint)
    return found  # type: ignore[no-any-return]


def _called(make: Callable[..., Any], spec: TeacherSpec) -> Any:
    try:
        calculator = make(**spec.kwargs)
    except TypeError as error:
        raise UsageError(f"{spec.name} cannot be called so: {error}.", hint="check --kwargs") from error
    if getattr(calculator, "directory", None) is not None:
        calculator.directory = _own_folder(Path(calculator.directory), Path(spec.scratch))
    return calculator


def _own_folder(folder: Path, scratch: Path) -> str:
    """Folder of this process for files: in the one that was chosen, else the scratch folder itself."""
    return str(scratch if folder == Path() else folder / scratch.name)


def _name(calculator: Any) -> str:
    name = getattr(calculator, "name", None)
    return name if isinstance(name, str) and name != "unknown" else type(calculator).__name__.lower()


def _version(calculator: Any, spec: TeacherSpec) -> str:
    """Version of the package of a calculator, and a hash of its arguments where there are some."""
    package = type(calculator).__module__.partition(".")[0]
    try:
        version = f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        version = package
    if not spec.kwargs:
        return version
    text = json.dumps(spec.kwargs, sort_keys=True, default=str)
    return f"{version}, arguments sha256:{hashlib.sha256(text.encode()).hexdigest()[:12]}"
