"""PDB files, and what ASE does not see in them: shared sites, charges, symmetry, the cell of later models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadStructureError

if TYPE_CHECKING:
    from ase import Atoms

_NO_CRYSTAL = "1.000 1.000 1.000 90.00 90.00 90.00"
"""The cell of files that have none."""


@dataclass(eq=False)
class _Model:
    """What the lines of one structure say."""

    atoms: int = 0
    places: set[str] = field(default_factory=set)
    """Letters of alternate locations."""
    occupancies: list[tuple[int, float]] = field(default_factory=list)
    charge: int = 0
    crystal: str = ""
    """The ``CRYST1`` line that holds for it."""


def pdb_images(source: Path) -> Iterator[Atoms]:
    """The structures of a PDB file that have atoms.

    The cell of the first model holds for those without one; a cell of 1 Å, the sign of no crystal, is left
    out; formal charges are added to ``info``. BadStructureError, naming frame and atom, for alternate
    locations, partial occupancies, and a space group whose other atoms are not in the file.
    """
    import ase.io

    models = [model for model in _models(source) if model.atoms]
    for number, model in enumerate(models):
        _check(model, number)
    images = ase.io.iread(str(source), index=":", format="proteindatabank", do_not_split_by_at_sign=True)
    for model, atoms in zip(models, (atoms for atoms in images if len(atoms)), strict=True):
        if _is_no_crystal(model.crystal):
            atoms.cell, atoms.pbc = None, False
        elif model.crystal and not atoms.pbc.any():
            atoms.cell, atoms.pbc = _cell(model.crystal), True
        if model.charge:
            atoms.info["charge"] = model.charge
        yield atoms


def _models(source: Path) -> Iterator[_Model]:
    model = _Model()
    with source.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            if line.startswith(("ATOM", "HETATM")):
                _add_atom(model, line)
            elif line.startswith("CRYST1"):
                model.crystal = line
            elif line.startswith("END"):
                yield model
                model = _Model(crystal=model.crystal)
    yield model


def _add_atom(model: _Model, line: str) -> None:
    model.places |= set(line[16:17].strip())
    share = _number(line[54:60])
    if share is not None:
        model.occupancies.append((model.atoms, share))
    charge = re.fullmatch(r"\s*(\d)([+-])\s*", line[78:80])
    if charge:
        model.charge += int(charge[2] + charge[1])
    model.atoms += 1


def _check(model: _Model, frame: int) -> None:
    if len(model.places) > 1:
        raise _shared(f"There are alternate locations {' and '.join(sorted(model.places))}", frame)
    if any(share != 0 for _, share in model.occupancies):  # all zero: the program knows none
        for atom, share in model.occupancies:
            if abs(share - 1) > 1e-3:
                raise _shared(f"Atom {atom} has the occupancy {share:g}", frame)
    group = "".join(model.crystal[55:66].split())
    if group not in ("", "1", "P1") and not _is_no_crystal(model.crystal):
        raise BadStructureError(
            f"The space group is {model.crystal[55:66].strip()}, and the atoms of its operations are not in "
            "the file.",
            where=f"frame {frame}",
            hint="write all atoms of the cell and the group P 1, or take the CRYST1 line out for a molecule",
        )


def _shared(what: str, frame: int) -> BadStructureError:
    return BadStructureError(
        f"{what}: a disordered structure cannot be computed as it is.",
        where=f"frame {frame}",
        hint="choose one place for every atom and give it the occupancy 1",
    )


def _is_no_crystal(line: str) -> bool:
    return " ".join(line[6:54].split()) == _NO_CRYSTAL


def _cell(line: str) -> list[float]:
    """Lengths in Å and angles in degrees of a ``CRYST1`` line that ASE has read already."""
    bounds = (6, 15, 24, 33, 40, 47, 54)
    return [float(line[start:end]) for start, end in zip(bounds, bounds[1:])]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
