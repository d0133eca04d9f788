"""A calculator whose energies and forces are kept in the folder of a run: one that is done again after a kill
asks only for what it had not reached.

That needs a run whose steps follow from energies and forces alone. It then takes the same steps in no time,
and nothing of its inner state has to be known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from ase.calculators.calculator import all_changes

from .answers import StandIn
from .kept import Kept

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

KEPT = ("energy", "forces")


class Remembering(StandIn):
    """Stands for a calculator, and asks it only for structures that are not kept."""

    def __init__(self, calculator: Calculator, kept: Kept) -> None:
        super().__init__(calculator)
        self._kept = kept

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Take energy and forces from what is kept, or ask for them and keep them if they are finite; other
        properties are asked for each time. The errors of the calculator."""
        assert atoms is not None
        if not set(properties) <= set(KEPT):
            super().calculate(atoms, properties, system_changes)
            return
        found = self._kept.find(atoms, KEPT)
        if found is None:
            super().calculate(atoms, KEPT, system_changes)
            found = {name: self.results[name] for name in KEPT}
            if all(np.isfinite(value).all() for value in found.values()):
                self._kept.keep([atoms], [found])
        self.take(atoms, found)
