"""Atoms of V2000 molfiles (SDF) and of PDB files; bonds and charges are not read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers

from jmp_calc.errors import BadInputError

Atoms = tuple[list[int], list[list[float]]]
"""Atomic numbers and positions (Å)."""


def sdf_blocks(path: Path) -> Iterator[tuple[str, Atoms]]:
    """Title and atoms of every molecule of an SDF file, one after the other."""
    block: list[str] = []
    number = 0
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("$$$$"):
                yield parse_molfile(block, f"{path} molecule {number}")
                block, number = [], number + 1
            else:
                block.append(line)
    if any(line.strip() for line in block):
        yield parse_molfile(block, f"{path} molecule {number}")


def parse_molfile(lines: list[str], where: str) -> tuple[str, Atoms]:
    """Title and atoms of a V2000 block; BadInputError if it is none."""
    try:
        count = int(lines[3][:3])  # fixed columns: 100 atoms leave no space between the numbers
        rows = lines[4 : 4 + count]
        numbers = [atomic_numbers[row[31:34].strip()] for row in rows]
        positions = [[float(row[i : i + 10]) for i in (0, 10, 20)] for row in rows]
        if len(rows) != count or count == 0:
            raise ValueError(f"{count} atoms announced, {len(rows)} found")
    except (ValueError, KeyError, IndexError) as error:
        raise BadInputError(
            f"This is not a V2000 molecule: {error!r}.", where=where, hint="only V2000 molfiles are read"
        ) from error
    return lines[0].strip(), (numbers, positions)


def read_pdb(path: Path) -> Atoms:
    """All atoms of the first model: hydrogens, waters and other molecules too.

    Of alternate places of one atom the one with the highest occupancy is kept (the first of equals). Elements
    come from columns 77-78; BadInputError for a line without one.
    """
    kept: dict[tuple[str, ...], tuple[float, int, list[float]]] = {}
    with path.open(encoding="utf-8", errors="replace") as file:
        for line_number, line in enumerate(file, 1):
            record = line[:6].strip()
            if record == "ENDMDL":
                break
            if record not in ("ATOM", "HETATM"):
                continue
            try:
                symbol = line[76:78].strip().capitalize()
                z = 1 if symbol == "D" else atomic_numbers[symbol]
                position = [float(line[i : i + 8]) for i in (30, 38, 46)]
                occupancy = float(line[54:60].strip() or 1.0)
            except (KeyError, ValueError) as error:
                raise BadInputError(
                    f"The atom has no element in columns 77-78 or a broken number ({error}).",
                    where=f"{path} line {line_number}",
                ) from error
            # Name, residue, chain, number, insertion code: what alternate places have in common.
            key: tuple[str, ...] = (line[12:16], line[17:20], line[21], line[22:26], line[26])
            if not line[16].strip():
                key = (*key, str(line_number))
            if key not in kept or occupancy > kept[key][0]:
                kept[key] = (occupancy, z, position)
    if not kept:
        raise BadInputError(f"{path.name} has no atoms.", where=str(path))
    return [z for _, z, _ in kept.values()], [position for _, _, position in kept.values()]


def joined(*parts: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (N,) and positions (N, 3) of several groups of atoms, in order."""
    numbers = np.concatenate([np.asarray(numbers, dtype=np.int64) for numbers, _ in parts])
    return numbers, np.concatenate(
        [np.asarray(positions, dtype=float).reshape(-1, 3) for _, positions in parts]
    )
