"""From a name to a teacher, in the interpreter of the teacher."""

from __future__ import annotations

from ...errors import UsageError
from ..labels import Teacher, TeacherSpec
from .names import NAMED


def made(spec: TeacherSpec) -> Teacher:
    """The teacher of a specification.

    Raises:
        ModuleNotFoundError: its package is not there.
        UsageError: settings that it has not.
        ModelError: weights that cannot be read.
    """
    _check_settings(spec)
    if spec.name == "tblite":
        from .xtb import Xtb

        return Xtb(spec)
    if spec.name == "ani2x":
        from .ani import Ani

        return Ani(spec)
    if spec.name == "nequix":
        from .nequix_packed import Nequix

        return Nequix(spec)
    if spec.name == "chgnet":
        from .chgnet_batched import Chgnet

        return Chgnet(spec)
    from . import ase_calculators

    if spec.name == "sevennet":
        return ase_calculators.sevennet(spec)
    if ":" in spec.name:
        return ase_calculators.of_factory(spec)
    from .jmp import Jmp

    return Jmp(spec)


def _check_settings(spec: TeacherSpec) -> None:
    """UsageError for a setting that says nothing to this teacher."""
    entry = NAMED.get(spec.name)
    takes = entry.takes if entry else {"method", "kwargs"} if ":" in spec.name else {"head", "dtype"}
    given = {
        "method": spec.method is not None,
        "weights": spec.weights is not None,
        "head": spec.head is not None,
        "kwargs": bool(spec.kwargs),
        "dtype": spec.dtype != "float32",
    }
    for name, is_given in given.items():
        if is_given and name not in takes:
            raise UsageError(
                f"The teacher {spec.name} has no {name} to choose.", where=f"--{name}", hint="leave it out"
            )
