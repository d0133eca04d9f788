"""Copies of one structure at other positions: what drivers of i-PI's protocol are asked for, beads or steps.

The programs that ask know positions and cells only; elements, order and periodicity are those of a template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress

from ..checks import check_numbers, why_no_stress
from ..errors import BadInputError, BadStructureError
from ..workflows.common import raw_results, warn_if_not_smooth, working_copy

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from numpy.typing import NDArray


def described(template: Atoms) -> str:
    """What a template is, for the user: a crystal that was read without its cell would be a molecule."""
    directions = "".join(name for name, along in zip("xyz", template.pbc) if along)
    what = f"periodic along {directions}" if directions else "not periodic: cells are not read, virials are 0"
    return f"{template.get_chemical_formula()}, {len(template)} atoms, {what}"


def standing_apart(symbols: Sequence[str]) -> Atoms:
    """Atoms of these elements, 2 Å apart and not periodic: what a head is chosen by before positions are
    there."""
    from ase import Atoms

    return Atoms(list(symbols), [[2.0 * number, 0.0, 0.0] for number in range(len(symbols))])


@dataclass(frozen=True)
class Answer:
    """What is computed of one copy."""

    energy: float
    """eV."""
    forces: NDArray[np.float64]
    """Shape (N, 3), eV/Å."""
    virial: NDArray[np.float64]
    """Shape (3, 3), eV: minus the derivative of the energy by the strain. Zeros where nothing is periodic."""


class Replicas:
    """A structure and its calculator, evaluated at the positions and cells that others send."""

    def __init__(self, template: Atoms, calculator: Calculator) -> None:
        """Take elements, their order and the periodicity from ``template``, which is only read.

        Raises:
            BadStructureError: as ``relax`` of it, or it is periodic in one direction only, where there is no
                virial. ModelError: as ``relax`` of it.
        """
        if template.pbc.sum() == 1:
            raise BadStructureError(
                "The structure is periodic in one direction only, and the program is to get a virial, "
                "which needs two.",
                hint="make it periodic in all three, with 10 Å of vacuum or more beside it",
            )
        self._template = working_copy(template, calculator)
        self._template.set_constraint()
        warn_if_not_smooth(self._template)

    def __len__(self) -> int:
        """Atoms of one copy."""
        return len(self._template)

    @property
    def periodic(self) -> bool:
        """Whether any direction is."""
        return bool(self._template.pbc.any())

    def evaluate(
        self, cells: Sequence[NDArray[np.float64]], positions: Sequence[NDArray[np.float64]]
    ) -> list[Answer]:
        """Answers for copies, in one batch where the calculator has batches.

        Args:
            cells: lattice vectors as rows, (3, 3) each, Å; not read where nothing is periodic.
            positions: (N, 3) each, Å.

        Raises:
            BadInputError: another number of atoms, or of cells, or a cell without a volume. GuardError: NaN.
                The errors of the calculator, such as atoms at one place.
        """
        if len(cells) != len(positions):
            raise BadInputError(
                f"{len(cells)} cells came with positions of {len(positions)} copies.",
                hint="give one cell to each copy",
            )
        if not len(cells):
            return []
        copies = [self._copy(cell, places) for cell, places in zip(cells, positions, strict=True)]
        wanted = ("energy", "forces", *(("stress",) if self.periodic else ()))
        return [self._answer(atoms, found) for atoms, found in zip(copies, raw_results(copies, wanted))]

    def _copy(self, cell: NDArray[np.float64], places: NDArray[np.float64]) -> Atoms:
        if places.shape != (len(self), 3):
            raise BadInputError(
                f"Positions of {len(places)} atoms came, the template has {len(self)}.",
                hint="give the same atoms in the same order to both programs",
            )
        atoms = self._template.copy()
        atoms.calc = self._template.calc
        atoms.positions[:] = places
        if self.periodic:
            atoms.cell[:] = cell
            reason = why_no_stress(atoms.cell.array, atoms.pbc)
            if reason is not None:
                raise BadInputError(
                    f"There is no virial for the cell that came: {reason}.",
                    hint="give the program a whole cell, in the direction that is not periodic too",
                )
        return atoms

    def _answer(self, atoms: Atoms, found: dict[str, Any]) -> Answer:
        virial = np.zeros((3, 3))
        if self.periodic:
            virial = -atoms.get_volume() * voigt_6_to_full_3x3_stress(found["stress"])
        answer = Answer(found["energy"], np.asarray(found["forces"], float), virial)
        check_numbers(answer.energy, answer.forces, answer.virial)
        return answer
