"""Asking one calculator about many structures; where molecules and crystals have heads of their own, two."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import JMPError, OutOfMemoryError
from ..batches import computed
from ..common import jmp_calculator
from .verdict import NotApplicable

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator


@dataclass(eq=False)
class Probe:
    """A calculator under test. Every structure is copied, so that nothing of the caller's is changed."""

    given: Calculator
    precision: str
    """float64 or float32."""
    seed: int = 0
    refusal: str = ""
    """The first error of a structure that the calculator does not compute."""
    _kinds: dict[bool, Calculator] = field(default_factory=dict)

    def calculator(self, atoms: Atoms) -> Calculator:
        """The calculator for a structure: a copy for molecules and one for periodic structures where the
        first structure decides for a head, else the one given."""
        decide = getattr(self.given, "decide_head", None)
        if decide is None:
            return self.given
        periodic = bool(atoms.pbc.any())
        if periodic not in self._kinds:
            own = copy.deepcopy(self.given)
            own.decide_head(atoms)
            self._kinds[periodic] = own
        return self._kinds[periodic]

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the heads that have computed, where the calculator has heads."""
        used = [getattr(getattr(calc, "info", None), "head", None) for calc in self._kinds.values()]
        return tuple(dict.fromkeys(name for name in used if name))

    def fresh(self, atoms: Atoms) -> Calculator:
        """A copy of the calculator for a structure that has computed nothing.

        Raises:
            NotApplicable: a calculator that cannot be copied.
        """
        try:
            twin = copy.deepcopy(self.calculator(atoms))
            twin.reset()
        except (TypeError, AttributeError, NotImplementedError) as error:
            raise NotApplicable(f"the calculator cannot be copied ({error})") from error
        return twin

    def results(self, structures: Sequence[Atoms], properties: Sequence[str]) -> list[dict[str, Any]]:
        """Energy (eV), forces (eV/Å), stress (eV/Å³) of structures of one kind, in batches where the
        calculator has any.

        Raises:
            BadInputError: a result that is not finite. Whatever the calculator raises.
        """
        found: dict[int, dict[str, Any]] = {}
        for periodic in (False, True):
            numbers = [n for n, atoms in enumerate(structures) if bool(atoms.pbc.any()) == periodic]
            if numbers:
                own = [self._asked(structures[n]) for n in numbers]
                answers = computed(
                    own,
                    properties,
                    bar="check",
                    name=lambda n: f"structure {n} of this check",
                    done="structures of this check were done",
                    quiet=True,
                )
                found |= dict(zip(numbers, answers))
        return [found[n] for n in range(len(structures))]

    def _asked(self, atoms: Atoms) -> Atoms:
        own = atoms.copy()
        own.calc = self.calculator(atoms)
        return own

    def energies(self, structures: Sequence[Atoms]) -> np.ndarray:
        """Energies (n,) in eV; errors as ``results``."""
        return np.array([one["energy"] for one in self.results(structures, ["energy"])])

    def forces(self, structures: Sequence[Atoms]) -> list[np.ndarray]:
        """Forces (n_atoms, 3) in eV/Å of each; errors as ``results``."""
        return [one["forces"] for one in self.results(structures, ["forces"])]

    def computes(self, atoms: Atoms) -> bool:
        """Whether the calculator gives finite energy and forces for a structure."""
        try:
            self.results([atoms], ["energy", "forces"])
        except OutOfMemoryError:
            raise
        except Exception as error:  # of foreign calculators anything: what they refuse is not asked again
            self.refusal = self.refusal or f"{type(error).__name__}: {error}"
            return False
        return True

    @property
    def jmp(self) -> Any:
        """The JMPCalculator under test; NotApplicable for any other, also for its sum with dispersion."""
        found = jmp_calculator(self.given)
        if found is None or "model" not in found.parameters:
            raise NotApplicable(f"{type(self.given).__name__} has no such choice")
        return found

    def twin(self, atoms: Atoms, changes: dict[str, Any]) -> Calculator:
        """A JMPCalculator of the same file, head and settings but for ``changes``.

        Raises:
            NotApplicable: another calculator, or one that cannot be changed so.
        """
        made = jmp_calculator(self.calculator(atoms)) or self.jmp
        settings = {**made.parameters, "head": made.info.head, **changes}
        try:
            return type(made)(**settings)  # type: ignore[no-any-return]
        except JMPError as error:
            raise NotApplicable(str(error)) from error

    @property
    def reach(self) -> float:
        """How far apart atoms may still feel each other, Å: the largest cutoff that is known, else 8."""
        return max(self.cutoffs, default=8.0)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        """Cutoffs of the graphs, Å; none for calculators that do not tell."""
        policy = getattr(getattr(self.given, "info", None), "policy", None)
        names = ("cutoff", "a2a_cutoff", "a2ee2a_cutoff", "qint_cutoff")
        found = {getattr(policy, name, None) for name in names}
        return tuple(sorted(value for value in found if value))
