"""Many structures that wait for energies and forces at once: each asks its own stand-in of one calculator.

A stand-in gives what was computed for the present positions in a batch; where nothing was, it asks the
calculator that it stands for. So whoever holds it need not know that there are batches.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes, all_properties

from .common import jmp_calculator
from .together import together

if TYPE_CHECKING:
    from ase import Atoms


class StandIn(Calculator):
    """What one structure has as calculator while it waits for batches."""

    def __init__(self, calculator: Calculator) -> None:
        super().__init__()
        self.implemented_properties = list(getattr(calculator, "implemented_properties", all_properties))
        self._calculator = calculator

    @property
    def calculator(self) -> Calculator:
        """The one that it stands for."""
        return self._calculator

    @property
    def shortest_distances(self) -> Mapping[tuple[int, int], float] | None:
        """Of pairs of elements in the training data, Å by atomic numbers; None: not known."""
        found: Mapping[tuple[int, int], float] | None = getattr(self._calculator, "shortest_distances", None)
        return found

    def take(self, atoms: Atoms, results: Mapping[str, Any]) -> None:
        """Keep what was computed for ``atoms`` as they are now."""
        self.atoms, self.results = atoms.copy(), dict(results)

    def waits(self, atoms: Atoms) -> bool:
        """Whether nothing is known of ``atoms`` as they are now."""
        return bool(self.check_state(atoms)) or "forces" not in self.results

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Ask the calculator; everything that it has then computed is kept. Its errors."""
        assert atoms is not None
        found = {name: self._calculator.get_property(name, atoms) for name in properties}
        known = getattr(self._calculator, "results", {}) | found
        self.take(atoms, {name: np.copy(value) if np.ndim(value) else value for name, value in known.items()})


class Calculators:
    """The calculator for each of many structures: of a JMPCalculator with two default heads one for molecules
    and one for what is periodic."""

    def __init__(self, calculator: Calculator) -> None:
        jmp = jmp_calculator(calculator)
        # The first structure decides for the head of one, so the other is made before; they share weights.
        self._own = [calculator, calculator if jmp is None else copy.deepcopy(jmp)]
        self._first: bool | None = None

    def of(self, atoms: Atoms) -> Calculator:
        """The one for this structure."""
        periodic = bool(np.any(atoms.pbc))
        if self._first is None:
            self._first = periodic
        return self._own[periodic != self._first]


def answer(waiting: Sequence[Atoms]) -> None:
    """Compute energies, forces and, where there is one, stress for structures whose calculators are
    stand-ins: in a batch for a JMPCalculator. Another calculator, and a structure with a fault, is not
    computed: it asks for itself, and meets its own error."""
    groups: dict[int, list[Atoms]] = {}
    for atoms in waiting:
        if atoms.calc.waits(atoms):
            groups.setdefault(id(atoms.calc.calculator), []).append(atoms)
    for group in groups.values():
        jmp = jmp_calculator(group[0].calc.calculator)
        if jmp is None or len(group) == 1:
            continue
        for atoms, results in zip(group, together(group, jmp.batch), strict=True):
            if not isinstance(results, Exception):
                atoms.calc.take(atoms, results)
