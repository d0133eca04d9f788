"""CIF files, and what ASE passes over in them: sites that several atoms share, atoms that the formula has and
the sites have not."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInputError, BadStructureError

if TYPE_CHECKING:
    from ase import Atoms

_SAME_PLACE = r"scaled_positions \d+ and \d+ are equivalent"
_FORMULA_TOLERANCE, _FORMULA_ROUNDING = 0.1, 0.002
"""Atoms of an element by which formula and sites may differ, and what each atom adds by rounding."""


def cif_images(source: Path) -> Iterator[Atoms]:
    """The structures of a CIF file.

    Raises:
        BadStructureError: naming the block, for disorder groups, two elements on one site, and sites that do
            not give the formula.
        BadInputError: the last block has a cell and no sites.
    """
    blocks = _blocks(source)
    for number, block in enumerate(blocks):
        where = f"frame {number} (data_{block.name})"
        _check_groups(block, where)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            atoms = block.get_atoms()
        for text in (str(warning.message) for warning in told):
            if re.fullmatch(_SAME_PLACE, text):
                _check_one_element(text, block, where)
        _check_formula(block, atoms, where)
        yield atoms


def largest_expansion(source: Path) -> int:
    """The largest number of sites, times operations, of a structure in the file; ASE compares all with all.

    Raises whatever ASE's parser raises.
    """
    return max((_expansion(block) for block in _blocks(source)), default=0)


def _expansion(block: Any) -> int:
    operations = 1 if block.get_cell().rank < 3 else block.get_spacegroup(True).nsymop
    return len(block.get_symbols()) * int(operations)


def _blocks(source: Path) -> list[Any]:
    """The blocks that have a structure."""
    from ase.io.cif import parse_cif

    with source.open("rb") as stream:
        blocks = list(parse_cif(stream, "ase"))
    if blocks and not blocks[-1].has_structure() and blocks[-1].get_cellpar() is not None:
        raise BadInputError(
            f"The last block, data_{blocks[-1].name}, has a cell and no sites: the file is cut off.",
            where=str(source),
            hint="write the file again",
        )
    return [block for block in blocks if block.has_structure()]


def _check_groups(block: Any, where: str) -> None:
    """BadStructureError for sites of several disorder groups or assemblies, or of a site disordered about a
    symmetry element (a negative group)."""
    for what in ("group", "assembly"):
        given = block.get(f"_atom_site_disorder_{what}") or ()
        names = {str(name) for name in (given if isinstance(given, list) else [given])} - {".", "?"}
        if len(names) > 1 or any(name.startswith("-") for name in names):
            shown = ", ".join(sorted(names)[:5])
            raise _disordered(f"The sites belong to disorder {what} {shown}", where)


def _check_one_element(text: str, block: Any, where: str) -> None:
    """BadStructureError where the two sites of ASE's warning hold different elements."""
    first, second = (int(number) for number in re.findall(r"\d+", text))
    symbols = block.get_symbols()
    if max(first, second) < len(symbols) and symbols[first] != symbols[second]:
        what = f"Sites {first} ({symbols[first]}) and {second} ({symbols[second]}) are one place"
        raise _disordered(what, where)


def _check_formula(block: Any, atoms: Atoms, where: str) -> None:
    """BadStructureError where ``_chemical_formula_sum`` has an element that the sites have not, or in another
    share: hydrogen that was not located, a loop that was cut off."""
    given = {
        "H" if symbol in "DT" else symbol: float(count or 1)
        for symbol, count in re.findall(
            r"([A-Z][a-z]?)(\d{0,6}(?:\.\d{0,6})?)", str(block.get("_chemical_formula_sum"))
        )
    }
    found = atoms.symbols.formula.count()
    if "_chemical_formula_sum" not in block or not given or "occupancy" in atoms.info:
        return
    ratio = sum(found.values()) / sum(given.values())
    whole = all(count == int(count) for count in given.values())
    if whole and abs(ratio - max(round(ratio), 1)) > _FORMULA_ROUNDING * len(atoms):
        ratio = max(round(ratio), 1)  # a cell holds whole formula units
    wrong = [
        symbol
        for symbol in sorted(given.keys() | found.keys())
        if abs(found.get(symbol, 0) - ratio * given.get(symbol, 0))
        > _FORMULA_TOLERANCE + _FORMULA_ROUNDING * len(atoms)
    ]
    if wrong:
        raise BadStructureError(
            f"The sites give {atoms.get_chemical_formula()}, the file says "
            f"{str(block['_chemical_formula_sum'])[:60]}: {', '.join(wrong)} differ.",
            where=where,
            hint="add the missing atoms; correct or take out _chemical_formula_sum where it is wrong",
        )


def _disordered(what: str, where: str) -> BadStructureError:
    return BadStructureError(
        f"{what}: a disordered structure cannot be computed as it is.",
        where=where,
        hint="make an ordered supercell, or choose one occupation",
    )
