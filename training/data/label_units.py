"""Units in which files hold their labels, and the sign of their stress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jmp_calc.errors import UsageError
from jmp_calc.units import UNIT_EXAMPLES, UnitKind, unit_factor

StressSign = Literal["tension", "pressure"]


@dataclass(frozen=True, kw_only=True)
class LabelUnits:
    """Units of one or several files; None: eV and Å, or what follows from the other units.

    Forces that are not given their own unit are energies per length, stresses energies per cubed length;
    virials are energies.
    """

    energy: str | None = None
    """eV, meV, hartree, rydberg, kcal/mol or kJ/mol."""
    length: str | None = None
    """angstrom, bohr or nm: of positions and cells."""
    forces: str | None = None
    """An energy per length, such as hartree/bohr."""
    stress: str | None = None
    """GPa, kbar, bar, Pa, or an energy per cubed length, such as eV/angstrom^3."""
    stress_sign: StressSign = "tension"
    """What is positive: tension as in ASE, or pressure as VASP prints it. Virials, too: those of a file in
    which they are positive under tension are told as pressure."""

    def __post_init__(self) -> None:
        if self.stress_sign not in ("tension", "pressure"):
            raise UsageError(
                f"The sign of a stress is {self.stress_sign!r}.",
                hint="what is positive: tension (ASE) or pressure (VASP)",
            )
        self.scales()

    def scales(self) -> Scales:
        """What labels are multiplied with; UsageError for an unknown unit."""
        energy = _factor(self.energy, "energy", 1.0)
        length = _factor(self.length, "length", 1.0)
        stress = _factor(self.stress, "stress", energy / length**3)
        return Scales(
            energy,
            length,
            _factor(self.forces, "forces", energy / length),
            stress if self.stress_sign == "tension" else -stress,
        )

    @property
    def named(self) -> str:
        """The units that were given, for messages; empty if none was."""
        given = [unit for unit in (self.energy, self.length, self.forces, self.stress) if unit]
        return " and ".join(given + ["stress as pressure"] * (self.stress_sign == "pressure"))


def _factor(name: str | None, kind: UnitKind, default: float) -> float:
    if name is None:
        return default
    try:
        return unit_factor(name, kind)
    except KeyError:
        raise UsageError(
            f"There is no unit of {kind} {name!r}.", hint=f"choose one of {', '.join(UNIT_EXAMPLES[kind])}"
        ) from None


@dataclass(frozen=True)
class Scales:
    """eV, Å, eV/Å and eV/Å^3 per unit of a file; that of the stress carries its sign."""

    energy: float
    length: float
    forces: float
    stress: float

    @property
    def by_kind(self) -> dict[UnitKind, float]:
        """The factors by the kind of their unit."""
        return {"energy": self.energy, "length": self.length, "forces": self.forces, "stress": self.stress}
