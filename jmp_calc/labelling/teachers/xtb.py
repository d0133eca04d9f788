"""GFN2-xTB and GFN1-xTB by tblite: molecules and crystals, with charge and spin."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UsageError
from ...units import BOHR, HARTREE
from ..labels import CHARGE, UNPAIRED, Labels, TeacherFacts, TeacherSpec

if TYPE_CHECKING:
    from ase import Atoms

METHODS = ("GFN2-xTB", "GFN1-xTB")
MIXED_CYCLES = 20
"""Earlier cycles that the charges are mixed from. The default, all of them, converges less often and makes a
structure that never converges ten times as expensive; energies agree to 1e-6 eV."""
SLOW_MIXING, MANY_CYCLES = 0.1, 500
"""For structures that do not converge otherwise, such as radicals with stretched bonds."""
LANTHANIDES = range(57, 72)
LAST_ELEMENT = 86


class Xtb:
    """The energy is the free energy of the electrons at 300 K, as the method defines it."""

    def __init__(self, spec: TeacherSpec) -> None:
        """UsageError for a method that is none of METHODS."""
        from tblite.exceptions import TBLiteRuntimeError
        from tblite.interface import Calculator

        method = spec.method or METHODS[0]
        if method not in METHODS:
            raise UsageError(
                f"Unknown method {method!r}.", where="--method", hint=f"one of {', '.join(METHODS)}"
            )
        self._calculator, self._method, self._failed = Calculator, method, TBLiteRuntimeError
        self.facts = TeacherFacts(
            method=method,
            version=f"tblite {metadata.version('tblite')}",
            elements=tuple(range(1, LAST_ELEMENT + 1)),
            takes_charge=True,
        )

    def label(self, frames: Sequence[Atoms]) -> list[Labels]:
        """Labels of each structure."""
        return [self._single(atoms) for atoms in frames]

    def _single(self, atoms: Atoms) -> Labels:
        if atoms.pbc.any() and not atoms.pbc.all():
            raise ValueError("tblite knows three periodic directions or none")
        charge = atoms.info.get(CHARGE, 0)
        unpaired = atoms.info.get(UNPAIRED, lowest_unpaired(atoms.numbers, charge))
        periodic = (atoms.cell.array / BOHR, atoms.pbc) if atoms.pbc.all() else ()
        calculator = self._calculator(
            self._method, atoms.numbers, atoms.positions / BOHR, float(charge), unpaired, *periodic
        )
        found = self._converged(calculator)
        stress = None
        if atoms.pbc.all():
            matrix = np.asarray(found["virial"]) * (HARTREE / atoms.get_volume())
            stress = matrix[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
        return Labels(
            float(found["energy"]) * HARTREE, -np.asarray(found["gradient"]) * (HARTREE / BOHR), stress
        )

    def _converged(self, calculator: Any) -> Any:
        """Results once charges are self-consistent; the error of tblite where they never are."""
        calculator.set("verbosity", 0)
        calculator.set("mixer-memory", MIXED_CYCLES)
        try:
            return calculator.singlepoint()
        except self._failed:
            calculator.set("mixer-damping", SLOW_MIXING)
            calculator.set("max-iter", MANY_CYCLES)
            return calculator.singlepoint()


def lowest_unpaired(numbers: np.ndarray, charge: int) -> int:
    """0 or 1, by the parity of the valence electrons of GFN; of a free neutral atom as many as its ground
    state has (Hund)."""
    if len(numbers) == 1 and charge == 0:
        return ground_state_unpaired(int(numbers[0]))
    # The f electrons of lanthanides lie in the core of GFN, which leaves them three.
    electrons = sum(3 if z in LANTHANIDES else z for z in np.asarray(numbers).tolist()) - charge
    return electrons % 2


def ground_state_unpaired(number: int) -> int:
    """Unpaired valence electrons of a free neutral atom; of a lanthanide those outside the f shell."""
    from ase.data import ground_state_magnetic_moments

    return 1 if number in LANTHANIDES else round(float(ground_state_magnetic_moments[number]))
