"""London dispersion D3(BJ) beside any ASE calculator: every property is the sum of both.

calc = with_dispersion(JMPCalculator("jmp-xs", head="pbe"))

The package dftd3 computes (S. Grimme, J. Antony, S. Ehrlich, H. Krieg, J. Chem. Phys. 132, 154104 (2010),
doi:10.1063/1.3382344; S. Grimme, S. Ehrlich, L. Goerigk, J. Comput. Chem. 32, 1456 (2011),
doi:10.1002/jcc.21759), two-body terms with its own cutoffs.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.units import Bohr, Hartree

from .errors import BadInputError, JMPWarning, ModelError, UsageError
from .hessian import Hessian, chosen_atoms
from .lattice import completed
from .model.config import UNTOLD_LEVEL

if TYPE_CHECKING:
    from ase import Atoms

REACH, SWITCH = 62.5, 5.0
"""Bohr: where pairs end, and over how much of that they fade out. The cutoff of dftd3, 60, is in the middle:
ended there at once, the energy of a crystal has steps, and the stress misses its derivative by 2 MPa."""
OTHER_CUTOFFS = 40.0
"""Bohr, of three-body terms (not used) and coordination numbers, as in dftd3."""
INSTALL = "pip install 'jmp-calc[dispersion]'"
ADDED = ("energy", "free_energy", "energies", "forces", "stress")
"""Properties that dispersion has a part of; all others are those of the calculator alone."""
WITHOUT = ("stresses",)
"""Properties whose part of dispersion dftd3 does not tell: there is no sum."""
EXAMPLES = "pbe, rpbe, revpbe, pbesol, scan, r2scan, blyp, b3lyp, pbe0 or hse06"
_HAS_DISPERSION = re.compile(r"D[234]\b|D3\(|VV10|rVV10|vdW|MBD|-V\b|-D\b|\bTS\b|xTB|\bGFN|MP2|CCSD|\bCI\b")
"""What names of methods with dispersion have: corrections, non-local functionals, wave functions, xTB."""
_REFITTED = {"wb97x": "ωB97X-D3(BJ)", "wb97m": "ωB97M-D3(BJ)", "b97m": "B97M-D3(BJ)"}
"""Parameters of dftd3 that belong to another functional than the one of this name."""


def with_dispersion(calc: Calculator, *, functional: str | None = None) -> DispersionCalculator:
    """Add D3(BJ) dispersion to a calculator.

    Args:
        calc: any ASE calculator; of a JMPCalculator, its head must be known. It is used, not copied.
        functional: whose damping parameters are taken, by its name in dftd3 (pbe, rpbe, b3lyp, ...); that
            of the head of a JMP model if none is given. Default: None.

    Returns:
        A calculator whose energy, energies per atom, forces, stress, batches and Hessian are sums.

    Raises:
        UsageError: the package dftd3 is not installed; a functional that is unknown or has no parameters; a
            head that is not chosen yet. ModelError: the training data of the head have dispersion already.
    """
    name = named_functional(calc) if functional is None else _plain(functional)
    refuse_twice(calc)
    _warn_of_other_functional(calc, name)
    return DispersionCalculator(calc, name)


def named_functional(calc: Any) -> str:
    """Name of the functional of a JMP model's head, as dftd3 calls it.

    Raises:
        UsageError: a calculator that does not tell its functional, or one whose parameters are for another.
    """
    head = _head(calc)
    level = "" if head is None or head.level_of_theory == UNTOLD_LEVEL else head.level_of_theory
    said = "" if head is None else head.theory.functional or re.split(r"[/ (]", level)[0]
    name = _plain(said)
    if name in ("", "none", "unknown"):
        what = type(calc).__name__ if head is None else f"Head {head.name!r}"
        raise UsageError(
            f"{what} does not say with which functional its training data were computed.",
            hint=f"name it with functional=NAME (--dispersion-functional NAME): {EXAMPLES}; a fine-tuning "
            "writes it with --theory functional=NAME",
        )
    if name in _REFITTED:
        raise UsageError(
            f"D3(BJ) has no parameters for {said}: those that dftd3 has under {name!r} are of "
            f"{_REFITTED[name]}, a functional that was fitted with them.",
            hint=f"functional={name!r} (--dispersion-functional {name}) takes them all the same",
        )
    return name


def refuse_twice(calc: Any) -> None:
    """ModelError for a head whose labels have dispersion already, and for a calculator with it."""
    if isinstance(calc, DispersionCalculator):
        raise ModelError("The calculator has dispersion already.", hint="add it once")
    head = _head(calc)
    if head is None:
        return
    known = head.theory.dispersion.lower()
    texts = (head.theory.functional, head.level_of_theory.partition(", ")[0].partition(" (")[0])
    if known not in ("", "none") or any(_HAS_DISPERSION.search(text) for text in texts):
        which = head.theory.dispersion if known not in ("", "none") else "its method"
        raise ModelError(
            f"The training data of head {head.name!r} ({head.level_of_theory}) have dispersion already "
            f"({which}): D3 would count it twice.",
            hint="leave dispersion out, or choose a head without it",
        )


def _warn_of_other_functional(calc: Any, name: str) -> None:
    """JMPWarning for damping parameters (named as in dftd3) of another functional than the head's."""
    head = _head(calc)
    own = "" if head is None else head.theory.functional
    if own and _plain(own) != name:
        text = f"The training data of head {head.name!r} are by {own}, and D3 has the parameters of {name!r}."
        warnings.warn(text, JMPWarning, stacklevel=3)


def _head(calc: Any) -> Any:
    """The head of a JMP model in use; None for other calculators. UsageError where it is not chosen yet."""
    info: Any = getattr(calc, "info", None)
    if not hasattr(info, "heads"):
        return None
    if info.head is None:
        raise UsageError(
            f"{info.name} has two default heads, and their functionals differ.",
            hint="choose one with head='NAME' (--head NAME)",
        )
    return next(head for head in info.heads if head.name == info.head)


def _plain(name: str) -> str:
    """A functional as dftd3 writes it: ωB97X-D is wb97xd, PBE0 is pbe0."""
    return re.sub(r"[^a-z0-9]", "", name.strip().lower().replace("ω", "w").partition("+u")[0])


def _damping(functional: str) -> Any:
    """D3(BJ) parameters; UsageError without the package, or for a functional that it does not know."""
    try:
        from dftd3.interface import RationalDampingParam
    except ImportError as error:
        raise UsageError("The package dftd3 is not installed.", hint=f"run: {INSTALL}") from error
    try:
        return RationalDampingParam(method=functional)
    except RuntimeError as error:
        raise UsageError(
            f"D3(BJ) has no parameters for the functional {functional!r}.",
            hint=f"name another with functional=NAME (--dispersion-functional NAME): {EXAMPLES}",
        ) from error


class DispersionCalculator(Calculator):
    """The sum of a calculator and D3(BJ); made by ``with_dispersion``. Settings are fixed."""

    ignored_changes: ClassVar[set[str]] = {"initial_charges", "initial_magmoms"}

    def __init__(self, base: Calculator, functional: str) -> None:
        """``functional`` as dftd3 calls it; UsageError where it has no parameters."""
        super().__init__()
        self.atoms: Atoms | None = None
        self.base, self.functional = base, functional
        self._parameters = _damping(functional)
        self.implemented_properties = [name for name in base.implemented_properties if name not in WITHOUT]
        self.parameters = {"dispersion": self.dispersion}

    @property
    def dispersion(self) -> str:
        """What is added, in words."""
        return f"D3(BJ), {self.functional}"

    # What a JMPCalculator tells of itself is told of the sum; AttributeError where the base tells nothing.

    @property
    def info(self) -> Any:
        """What the calculator computes with."""
        return self.base.info

    @property
    def decide_head(self) -> Any:
        """As that of a JMPCalculator."""
        return self.base.decide_head

    @property
    def warn_if_not_smooth(self) -> Any:
        """As that of a JMPCalculator: D3 has no jumps that anyone could measure."""
        return self.base.warn_if_not_smooth

    @property
    def shortest_distances(self) -> Any:
        """As that of a JMPCalculator."""
        return self.base.shortest_distances

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """ASE's comparison, and what else the calculator reads of a structure."""
        changes: list[str] = super().check_state(atoms, tol=tol)
        if not changes and self.base.check_state(atoms, tol=tol):
            changes.append("calculator")
        return changes

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """One property, from the cache if nothing changed; the reason where the calculator has none."""
        _check_summed([name])
        subject = self.atoms if atoms is None else atoms
        if name == "stress" and subject is not None and name in self.implemented_properties:
            self.base.get_property(name, subject, allow_calculation)  # its own words where there is none
        return super().get_property(name, atoms, allow_calculation)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute the properties into ``results``.

        Raises:
            UsageError: no atoms. BadInputError: D3 gives no finite number. The errors of the calculator.
        """
        subject = self.atoms if atoms is None else atoms
        if subject is None:
            raise UsageError("Calculate was called without atoms.")
        _check_summed(properties)
        self.atoms, self.results = None, {}
        snapshot = subject.copy()
        asked = {name: self.base.get_property(name, snapshot) for name in properties}
        self.results = self._with_dispersion(snapshot, _kept(self.base.results, properties) | asked)
        self.atoms = snapshot

    def batch(
        self, structures: Atoms | Iterable[Atoms], properties: Sequence[str] = ("energy", "forces")
    ) -> list[dict[str, Any]]:
        """As ``JMPCalculator.batch``, with dispersion; PropertyNotImplementedError for calculators without
        batches."""
        if not hasattr(self.base, "batch"):
            raise PropertyNotImplementedError(f"{type(self.base).__name__} computes one structure at a time")
        _check_summed(properties)
        each = [structures] if hasattr(structures, "positions") else list(structures)
        found = self.base.batch(each, properties)
        return [self._with_dispersion(atoms, one) for atoms, one in zip(each, found, strict=True)]

    def get_hessian(self, atoms: Atoms | None = None, indices: Sequence[int] | None = None) -> Hessian:
        """As ``JMPCalculator.get_hessian``, with the second derivatives of dispersion.

        Raises:
            PropertyNotImplementedError: a calculator that gives no such Hessian.
        """
        subject = self.atoms if atoms is None else atoms
        if subject is None:
            raise UsageError("The Hessian was asked for without atoms.")
        if not hasattr(self.base, "get_hessian"):
            raise PropertyNotImplementedError(f"{type(self.base).__name__} gives no Hessian")
        own: Hessian = self.base.get_hessian(subject, indices)
        size = len(subject)
        raw = _model(subject).get_hessian(self._parameters)["hessian"] * Hartree / Bohr**2
        chosen = chosen_atoms(indices, size)
        part = raw.reshape(size, 3, size, 3)[chosen][:, :, chosen]
        added = Hessian.symmetrised(_finite(part, "the second derivatives"), own.indices)
        return Hessian(own.matrix + added.matrix, own.indices, max(own.asymmetry, added.asymmetry))

    def _with_dispersion(self, atoms: Atoms, results: dict[str, Any]) -> dict[str, Any]:
        """Results of the calculator with the part of dispersion in those that have one."""
        derivatives = "forces" in results or "stress" in results
        model = _model(atoms)
        found = model.get_dispersion(self._parameters, grad=derivatives)
        energy = float(_finite(np.asarray(found["energy"]), "the energy")) * Hartree
        added: dict[str, Any] = {"energy": energy, "free_energy": energy}
        if derivatives:
            added["forces"] = -_finite(found["gradient"], "the gradient") * Hartree / Bohr
        if "stress" in results and atoms.cell.rank == 3:
            virial = _finite(found["virial"], "the virial")
            added["stress"] = virial.flat[[0, 4, 8, 5, 2, 1]] * Hartree / atoms.get_volume()
        if "energies" in results:
            pairs = model.get_pairwise_dispersion(self._parameters)
            halves = pairs["additive pairwise energy"] + pairs["non-additive pairwise energy"]
            added["energies"] = _finite(halves, "the energies").sum(axis=1) * Hartree
        return {
            name: value + added.get(name, 0.0) if name in ADDED else value
            for name, value in results.items()
            if name not in WITHOUT
        }

    def __getstate__(self) -> dict[str, Any]:
        """Without the handle of the library, which no other process can use."""
        return {name: value for name, value in vars(self).items() if name != "_parameters"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._parameters = _damping(self.functional)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base!r}, functional={self.functional!r})"


def _check_summed(properties: Sequence[str]) -> None:
    """PropertyNotImplementedError for properties of which there is no sum."""
    for name in WITHOUT:
        if name in properties:
            raise PropertyNotImplementedError(f"dftd3 does not tell the part of dispersion in {name}")


def _kept(results: dict[str, Any], properties: Sequence[str]) -> dict[str, Any]:
    """Copies of what the calculator gave; energies per atom, which cost dispersion as much as the rest, only
    where they were asked for."""
    return {
        name: value.copy() if isinstance(value, np.ndarray) else value
        for name, value in results.items()
        if name != "energies" or name in properties
    }


def _finite(value: np.ndarray, what: str) -> np.ndarray:
    """The numbers of dftd3; BadInputError where one is not finite."""
    if not np.isfinite(value).all():
        raise BadInputError(f"D3 gives no finite numbers for {what} of this structure.")
    return value


def _model(atoms: Atoms) -> Any:
    """The structure as dftd3 takes it; BadInputError for one that it refuses.

    Atoms are brought into the cell: the library looks for images around it only.
    """
    from dftd3.interface import DispersionModel

    pbc = np.array(atoms.pbc, dtype=bool)
    inside = atoms.copy()
    if pbc.any():
        inside.set_cell(completed(atoms.cell.array, pbc))
        inside.wrap(pretty_translation=False)
    lattice = (inside.cell.array / Bohr, pbc) if pbc.any() else ()
    try:
        model = DispersionModel(inside.numbers, inside.positions / Bohr, *lattice)
    except RuntimeError as error:
        raise BadInputError(f"D3 cannot compute this structure: {error}.") from error
    model.set_realspace_cutoff(disp2=REACH, disp3=OTHER_CUTOFFS, cn=OTHER_CUTOFFS, width2=SWITCH)
    return model
