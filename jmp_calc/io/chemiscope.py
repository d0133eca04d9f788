"""Structures with properties as one file of the viewer chemiscope (extra ``view``)."""

from __future__ import annotations

import gzip
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..machine.packages import require
from .atomic import replacing

if TYPE_CHECKING:
    from ase import Atoms

FILE = "chemiscope.json.gz"
INSTALL = "pip install 'jmp-calc[view]'"


def require_chemiscope() -> None:
    """UsageError with the line to install it where chemiscope is missing."""
    require("chemiscope", "The package chemiscope is not installed.", INSTALL)


@dataclass(frozen=True, eq=False)
class Shown:
    """One property, as the viewer shows it."""

    values: NDArray[Any] | Sequence[str]
    """(S,) or (S, D) of structures, (N,) or (N, D) of their atoms, one structure after the other. A point
    whose value is NaN is not shown."""
    unit: str = ""
    """"" for numbers without one, and for words."""
    text: str = ""
    """What it is, in a few words."""
    of: Literal["structure", "atom"] = "structure"


def write_chemiscope(
    path: Path, structures: Sequence[Atoms], shown: Mapping[str, Shown], *, x: str, y: str, colour: str
) -> None:
    """Write structures and their properties for https://chemiscope.org and ``chemiscope.show_input``.

    ``x``, ``y`` and ``colour`` name what the map shows at first, of structures or of atoms. The same
    input gives the same bytes.

    Raises:
        UsageError: chemiscope is not installed.
    """
    require_chemiscope()
    import chemiscope

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on NaN, which Shown explains
        content = chemiscope.create_input(
            structures=list(structures),
            metadata={"name": path.name.partition(".")[0]},
            properties={name: _described(one) for name, one in shown.items()},
            environments=_environments(structures, shown),
            settings=chemiscope.quick_settings(
                target=shown[x].of,
                x=x,
                y=y,
                map_color=colour,
                periodic=any(atoms.pbc.any() for atoms in structures),
            ),
        )
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(json.dumps(content).encode(), mtime=0))


def _environments(structures: Sequence[Atoms], shown: Mapping[str, Shown]) -> Any:
    """Every atom, where a property is of atoms."""
    import chemiscope

    of_atoms = any(one.of == "atom" for one in shown.values())
    return chemiscope.all_atomic_environments(list(structures), cutoff=5.0) if of_atoms else None


def _described(one: Shown) -> dict[str, Any]:
    """As chemiscope wants it."""
    values = np.asarray(one.values)
    found: dict[str, Any] = {"target": one.of, "values": values}
    if values.dtype.kind in "US":
        found["values"] = [str(value) for value in values]
    if one.unit:
        found["units"] = one.unit
    if one.text:
        found["description"] = one.text
    return found
