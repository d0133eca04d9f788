"""Calculators that know forces of displaced supercells from files of phonopy's and phono3py's examples."""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.io import read

SAMPLES = Path(__file__).parent / "samples"
Displaced = tuple[list[tuple[int, np.ndarray]], np.ndarray]
"""Atoms (from 0) with their displacements in Å, and the forces (n_atoms, 3) in eV/Å."""


def unitcell(path: Path, symbols: str) -> Atoms:
    """A cell of the examples, some of which name no elements, with the atomic masses of phonopy."""
    from phonopy.structure.atoms import PhonopyAtoms

    atoms = read(path, format="vasp")
    atoms.set_chemical_symbols(symbols)
    positions = atoms.get_scaled_positions()
    same = PhonopyAtoms(symbols=list(atoms.symbols), cell=atoms.cell.array, scaled_positions=positions)
    atoms.set_masses(same.masses)
    return atoms


def force_sets(path: Path) -> Iterator[Displaced]:
    """Of a file FORCE_SETS of one displaced atom each."""
    from phonopy.file_IO import parse_FORCE_SETS

    for one in parse_FORCE_SETS(filename=path)["first_atoms"]:
        yield [(one["number"], np.array(one["displacement"]))], np.array(one["forces"])


def forces_fc3(path: Path) -> Iterator[Displaced]:
    """Of a packed file FORCES_FC3 of one or two displaced atoms each."""
    with lzma.open(path, "rt") as file:
        blocks = file.read().split("# File:")[1:]
    for block in blocks:
        moved = re.findall(r"^# +(\d+) +(\S+) +(\S+) +(\S+)$", block, flags=re.MULTILINE)
        rows = [line.split() for line in block.splitlines()[1:] if line and not line.startswith("#")]
        atoms = [(int(number) - 1, np.array(xyz, dtype=float)) for number, *xyz in moved]
        yield atoms, np.array(rows, dtype=float)


class Replay(Calculator):
    """Energies and forces of one crystal's displaced supercells; nothing for any other structure."""

    implemented_properties = ("energy", "forces")

    def __init__(self, perfect: Atoms, known: Iterator[Displaced]) -> None:
        super().__init__()
        self.perfect, self.known, self.asked = perfect, list(known), set[int]()

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = None, changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, changes)
        assert atoms is not None
        forces = np.zeros((len(atoms), 3))
        if len(atoms) == len(self.perfect):
            number = self._number(atoms)
            self.asked.add(number)
            forces = self.known[number][1]
        self.results = {"energy": 0.0, "forces": forces}

    def _number(self, atoms: Atoms) -> int:
        """Which of the known ones it is."""
        apart = self.perfect.cell.scaled_positions(atoms.positions - self.perfect.positions)
        moved = self.perfect.cell.cartesian_positions(apart - np.rint(apart))
        for number, (displaced, _) in enumerate(self.known):
            expected = np.zeros_like(moved)
            for atom, displacement in displaced:
                expected[atom] += displacement
            if np.allclose(moved, expected, atol=1e-5):
                return number
        raise LookupError("no forces are known of this supercell")


def supercell(atoms: Atoms, n: int = 2) -> Atoms:
    """n × n × n of a cell in phonopy's order of atoms."""
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(),
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
    )
    found = Phonopy(cell, np.diag([n, n, n]), primitive_matrix="P").supercell
    return Atoms(found.symbols, positions=found.positions, cell=found.cell, pbc=True)
