"""Names of what a calculator computes, as ASE calls them."""

from __future__ import annotations

from collections.abc import Sequence

from ase.calculators.calculator import PropertyNotImplementedError

from ..errors import UsageError
from .settings import Settings
from .uncertainty import UNCERTAIN

PROPERTIES = ("energy", "free_energy", "energies", "forces", "stress", "stresses")


def check_properties(properties: Sequence[str], available: Sequence[str] = PROPERTIES) -> None:
    """UsageError for a bare name, PropertyNotImplementedError for names that a JMPCalculator does not
    compute, or not with its settings."""
    if isinstance(properties, str):
        raise UsageError(
            f"Properties must be a list of names, got {properties!r}.", hint=f"write [{properties!r}]"
        )
    unknown = sorted(set(properties) - set(available))
    if unknown:
        how = "; uncertainty='last-layer' adds energy_std and forces_std" if "std" in str(unknown) else ""
        raise PropertyNotImplementedError(
            f"{', '.join(unknown)} is not implemented by JMPCalculator; "
            f"available: {', '.join(available)}{how}"
        )


def available_properties(settings: Settings) -> tuple[str, ...]:
    """What a calculator with these settings computes."""
    return PROPERTIES if settings.uncertainty is None else (*PROPERTIES, *UNCERTAIN)


def needs_gradient(properties: Sequence[str]) -> bool:
    """Whether any of the properties is a derivative of the energy."""
    return of_stress(properties) or not {"forces", "forces_std"}.isdisjoint(properties)


def of_stress(properties: Sequence[str]) -> bool:
    """Whether any of the properties is a stress, which not every structure has."""
    return not {"stress", "stresses"}.isdisjoint(properties)
