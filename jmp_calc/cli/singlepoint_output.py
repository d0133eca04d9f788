"""What ``jmp-calc singlepoint`` computes and shows: energies with their derivatives, or the scalar, class or
vector that the head gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import JMPError, UsageError
from .options import Common

if TYPE_CHECKING:
    from ase import Atoms

    from ..calculator import JMPCalculator
    from ..dispersion import DispersionCalculator
    from ..inference.evaluator import Evaluator
    from ..inference.settings import Output
    from ..io.structures import NamedFrame

CHOICES = ("energy", "energies", "forces", "stress", "stresses", "energy_std", "forces_std")
ON_REQUEST = ("stresses", "forces_std")
"""What is computed only where --properties names it."""
OF_UNCERTAINTY = ("energy_std", "forces_std")
Results = Mapping[str, Any]


def opened(common: Common, wanted: tuple[str, ...] | None, first: NamedFrame) -> Energies | Targets:
    """The model of a command, by what its head gives; ``first``: the structure that decides for a default
    head.

    Raises:
        UsageError: options for energies with another head. JMPError: naming the first structure.
    """
    from ..inference.evaluator import Evaluator
    from ..inference.opened import asked_output
    from ..inference.settings import Settings, portable

    settings = Settings(
        model=portable(common.model),
        head=common.head,
        device=common.device,
        dtype=common.dtype,
        elements=common.elements,
    )
    gives = asked_output(settings)
    if gives == "energy":
        deviations = [name for name in wanted or () if name in OF_UNCERTAINTY]
        if deviations and common.uncertainty is None:
            hint = "choose --uncertainty last-layer or committee"
            raise UsageError(f"{deviations[0]} needs to know where it comes from.", hint=hint)
        calculator = common.network()
        try:
            common.decide_head(calculator, first.atoms)
        except JMPError as error:
            raise type(error)(error.fact, where=str(first), hint=error.hint) from error
        return Energies(common.with_dispersion(calculator), wanted)
    options = {
        "--properties": wanted,
        "--compile": common.compile,
        "--compiled": common.compiled,
        "--uncertainty": common.uncertainty,
        "--committee": common.committee,
        "--dispersion": common.dispersion != "none",
        "--dispersion-functional": common.dispersion_functional,
    }
    for option, value in options.items():
        if value:
            fact = f"{option} has no meaning here: the head gives a {gives}, not an energy."
            raise UsageError(fact, where=common.model, hint="leave it out")
    return Targets(Evaluator(settings, gives=gives), gives)


class Energies:
    """Energies, forces and stresses, or those of them that are wanted."""

    units: Mapping[str, str] = {"energy": "eV", "forces": "eV/Å", "stress": "eV/Å³", "stresses": "eV/Å³"}
    has_forces = True

    def __init__(
        self, calculator: JMPCalculator | DispersionCalculator, wanted: tuple[str, ...] | None
    ) -> None:
        self._calculator, self._wanted = calculator, wanted
        self._uncertain = "energy_std" in calculator.implemented_properties
        self.info, self.dispersion = calculator.info, getattr(calculator, "dispersion", None)
        self.title = f"{'energy [eV]':>16} {'fmax [eV/Å]':>12}" + (
            f" {'std [eV]':>10}" if self._uncertain else ""
        )

    def evaluate(self, window: Sequence[NamedFrame]) -> Iterator[tuple[NamedFrame, Results]]:
        """Results by property, up to the first frame with a fault, which is named."""
        for frame, results in _up_to_a_fault(window, self._values):
            yield frame, {name: results[name] for name in self._names(frame.atoms)}

    def _values(self, images: Sequence[Atoms]) -> list[dict[str, Any]]:
        return self._calculator.batch(images, self._wanted or ("energy", "forces"))

    def check(self, atoms: Atoms) -> None:
        """ModelError for a structure that the head is not for."""
        self._calculator.decide_head(atoms)

    def _names(self, atoms: Atoms) -> tuple[str, ...]:
        from ..checks import why_no_stress

        if self._wanted is not None:
            return self._wanted
        without = set(ON_REQUEST) | (set() if self._uncertain else {"energy_std"})
        if why_no_stress(atoms.cell.array, atoms.pbc) is not None:
            without.add("stress")
        return tuple(name for name in CHOICES if name not in without)

    def labelled(self, atoms: Atoms, results: Results) -> Atoms:
        """A copy with jmp_* results, in place of all of an earlier run; labels stay, and only a frame without
        any gets ours under the standard keys."""
        from ase.calculators.singlepoint import SinglePointCalculator

        out = without_keys(atoms, [f"jmp_{name}" for name in CHOICES])
        for name in ("energy", "stress", "energy_std"):
            if name in results:
                out.info[f"jmp_{name}"] = results[name]
        for name in ("energies", "forces", "stresses", "forces_std"):
            if name in results:
                out.arrays[f"jmp_{name}"] = results[name]
        labels = getattr(atoms.calc, "results", {})
        known = {name: value for name, value in results.items() if name not in OF_UNCERTAINTY}
        out.calc = SinglePointCalculator(out, **(labels or known))
        return out

    def brief(self, results: Results) -> dict[str, Any]:
        """What summary.yaml says of a frame."""
        import numpy as np

        row: dict[str, Any] = {}
        if "energy" in results:
            row["energy_ev"] = float(results["energy"])
        if "forces" in results:
            row["fmax_ev_per_ang"] = float(np.linalg.norm(results["forces"], axis=1).max())
        if "stress" in results:
            row["stress_ev_per_ang3"] = [float(value) for value in results["stress"]]
        if "stresses" in results:
            row["stresses_max_ev_per_ang3"] = float(np.abs(results["stresses"]).max())
        if "energy_std" in results:
            row["energy_std_ev"] = float(results["energy_std"])
        if "forces_std" in results:
            row["forces_std_max_ev_per_ang"] = float(np.linalg.norm(results["forces_std"], axis=1).max())
        return row

    def shown(self, row: Results) -> str:
        """A row of ``brief`` below ``title``."""
        energy = f"{row['energy_ev']:.6f}" if "energy_ev" in row else "-"
        fmax = f"{row['fmax_ev_per_ang']:.4f}" if "fmax_ev_per_ang" in row else "-"
        std = f" {row['energy_std_ev']:>10.4f}" if "energy_std_ev" in row else ""
        return f"{energy:>16} {fmax:>12}{std}"


class Targets:
    """The scalar, class or vector that a head gives, as jmp_TARGET in the units of its labels."""

    has_forces = False

    def __init__(self, evaluator: Evaluator, gives: Output) -> None:
        self._evaluator, self._gives = evaluator, gives
        self.info = evaluator.info
        name, unit = evaluator.head.target or evaluator.head.name, evaluator.head.unit
        self._key = f"jmp_{name}"
        self.units: Mapping[str, str] = {} if gives == "class" else {self._key: unit}
        self.title = f"{name if gives == 'class' else f'{name} [{unit}]':>16}"

    def evaluate(self, window: Sequence[NamedFrame]) -> Iterator[tuple[NamedFrame, Results]]:
        """Values by key, up to the first frame with a fault, which is named."""
        yield from _up_to_a_fault(window, self._values)

    def check(self, atoms: Atoms) -> None:
        """Nothing: there are no defaults by kind of structure for such heads."""

    def _values(self, images: Sequence[Atoms]) -> list[Results]:
        from ..inference import predict

        if self._gives == "class":
            found = predict.classes(self._evaluator, images)
            shares = [dict(zip(found.classes, row, strict=True)) for row in found.probabilities.tolist()]
            return [
                {self._key: name, f"{self._key}_probabilities": share}
                for name, share in zip(found.names, shares, strict=True)
            ]
        compute = predict.scalars if self._gives == "scalar" else predict.vectors
        return [{self._key: value} for value in compute(self._evaluator, images)]

    def labelled(self, atoms: Atoms, results: Results) -> Atoms:
        """A copy, labels included, with the values in its info, in place of those of an earlier run."""
        out = without_keys(atoms, [self._key, f"{self._key}_probabilities"])
        out.calc = atoms.calc
        out.info.update(results)
        return out

    def brief(self, results: Results) -> dict[str, Any]:
        """What summary.yaml says of a frame."""
        from ..io.summary import plain

        return {key: plain(value) for key, value in results.items()}

    def shown(self, row: Results) -> str:
        """A row of ``brief`` below ``title``."""
        value = row[self._key]
        if self._gives == "class":
            return f"{value:>16} (probability {row[f'{self._key}_probabilities'][value]:.3f})"
        numbers = value if self._gives == "vector" else [value]
        return " ".join(f"{number:>16.6f}" for number in numbers)


def without_keys(atoms: Atoms, keys: Iterable[str]) -> Atoms:
    """A copy without these entries of ``info`` and ``arrays``: results of another model or run."""
    out: Atoms = atoms.copy()
    for key in keys:
        out.info.pop(key, None)
        out.arrays.pop(key, None)
    return out


def _up_to_a_fault(
    window: Sequence[NamedFrame], compute: Callable[[Sequence[Atoms]], Sequence[Results]]
) -> Iterator[tuple[NamedFrame, Results]]:
    """What is computed of each frame; a fault is raised under the name of its frame."""
    from ..workflows.together import together

    for frame, found in zip(window, together([frame.atoms for frame in window], compute), strict=True):
        if isinstance(found, JMPError):
            raise type(found)(found.fact, where=str(frame), hint=found.hint) from found
        if isinstance(found, NotImplementedError):
            raise UsageError(str(found), where=str(frame), hint="leave it out of --properties") from found
        if isinstance(found, Exception):
            raise found
        yield frame, found
