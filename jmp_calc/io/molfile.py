"""Molfiles and SDF files, with what ASE does not see in them: later molecules, isotopes, charges."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInputError
from .extxyz import ISOTOPES

if TYPE_CHECKING:
    from ase import Atoms

_OLD_CHARGES = {1: 3, 2: 2, 3: 1, 5: -1, 6: -2, 7: -3}
"""Codes in the atom lines of a molfile."""
_MASSES = {(1, 2): ISOTOPES["D"], (1, 3): ISOTOPES["T"]}
"""u, by atomic number and mass number; of others the mass number is near enough."""


def molfile_images(source: Path) -> Iterator[Atoms]:
    """All molecules of a file, with the masses of isotopes, and charge and unpaired electrons in ``info``.

    Raises:
        BadInputError: version 3000. Whatever ASE's parser raises.
    """
    from ase.io.sdf import read_sdf

    for number, record in enumerate(_records(source)):
        if "V3000" in "".join(record[3:4]):
            raise BadInputError(
                "Molfiles of version 3000 are not read.",
                where=f"{source.name}, molecule {number}",
                hint="write it as version 2000, xyz or extxyz",
            )
        rows = record[4 : 4 + _count(record)]
        plain = [re.sub(r"^((?:\s*\S+){3}\s+)[DT]\b", r"\1H", row) for row in rows]
        atoms = read_sdf(io.StringIO("".join([*record[:4], *plain, *record[4 + len(rows) :]])))
        _set_masses(atoms, record, rows)
        atoms.info.update(molecule_state(record))
        yield atoms


def molecule_state(lines: Sequence[str]) -> dict[str, float]:
    """``charge`` and ``unpaired_electrons`` that one molecule states.

    Sums over the atoms: ``M  CHG`` and ``M  RAD``, or the codes of the atom lines where there is neither.
    """
    charges = [charge for _, charge in _properties(lines, "CHG")]
    radicals = [radical for _, radical in _properties(lines, "RAD")]
    if not charges and not radicals:
        charges = [_OLD_CHARGES.get(_whole(line[36:39]), 0) for line in lines[4 : 4 + _count(lines)]]
    state: dict[str, float] = {"charge": sum(charges)} if any(charges) else {}
    if any(radicals):  # 1: singlet, 2: doublet, 3: triplet
        state["unpaired_electrons"] = sum(max(radical - 1, 0) for radical in radicals)
    return state


def _records(source: Path) -> Iterator[list[str]]:
    record: list[str] = []
    with source.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            if line.startswith("$$$$"):
                yield record
                record = []
            else:
                record.append(line)
    if any(line.strip() for line in record):
        yield record


def _set_masses(atoms: Atoms, record: Sequence[str], rows: Sequence[str]) -> None:
    """Masses by ``M  ISO`` (mass numbers), symbols D and T, or the differences in the atom lines where there
    are none of these."""
    masses = atoms.get_masses()
    isotopes = {atom - 1: mass for atom, mass in _properties(record, "ISO")}
    words = [row.split() for row in rows]
    isotopes |= {i: "HDT".index(word[3]) + 1 for i, word in enumerate(words) if word[3] in ("D", "T")}
    if not isotopes:
        shifts = {i: _whole(row[34:36]) for i, row in enumerate(rows) if _has_columns(row)}
        isotopes = {i: round(masses[i]) + shift for i, shift in shifts.items() if shift}
    for i, mass in isotopes.items():
        if not 0 <= i < len(atoms) or mass < 1:
            raise BadInputError(f"Isotope {mass} of atom {i + 1} cannot be.", hint="check the line M  ISO")
        masses[i] = _MASSES.get((int(atoms.numbers[i]), mass), float(mass))
    if isotopes:
        atoms.set_masses(masses)


def _has_columns(row: str) -> bool:
    """Whether an atom line has its numbers where the format puts them."""
    return len(row) > 35 and row[5] == row[15] == row[25] == "."


def _properties(lines: Sequence[str], name: str) -> Iterator[tuple[int, int]]:
    """Atom (counted from 1) and value of the lines ``M  NAME``."""
    for line in lines:
        if line.startswith("M  END"):
            return
        if line.startswith(f"M  {name}"):
            words = line[9:].split()
            yield from zip(map(_whole, words[::2]), map(_whole, words[1::2]))


def _count(lines: Sequence[str]) -> int:
    return max(_whole(lines[3][:3]), 0) if len(lines) > 3 else 0


def _whole(text: str) -> int:
    return int(text) if re.fullmatch(r"\s*-?\d{1,6}\s*", text) else 0
