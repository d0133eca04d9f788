"""Energies that are added and subtracted (formation, adsorption, reaction) must have one zero: one check for
all of them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from ase import Atoms


def check_one_method(parts: Mapping[str, Atoms]) -> None:
    """Refuse energies of several models, heads or calculators in one sum.

    ``parts``: the structures, each with its calculator, by what they are in the sum (slab, molecule). Where
    structures share a JMPCalculator whose head is not chosen yet, the first decides.

    Raises:
        UsageError: a part without calculator, or two parts whose energies have different zeros. ModelError:
            a part that the head of its calculator is not for (molecules and crystals in one calculator).
    """
    methods = {name: _method(name, atoms) for name, atoms in parts.items()}
    for (one, first), (other, second) in pairwise(methods.items()):
        if first != second:
            raise UsageError(
                f"The energies of {one} ({first[0]}) and {other} ({second[0]}) have different zeros: their "
                "difference means nothing.",
                hint="compute all parts with one head of one model: head='NAME' (--head NAME)",
            )


def _method(name: str, atoms: Atoms) -> tuple[str, str]:
    """What computes a part, in words, and what tells it from others."""
    if atoms.calc is None:
        raise UsageError(f"The structure of {name} has no calculator.", hint="set atoms.calc first")
    decide = getattr(atoms.calc, "decide_head", None)
    if decide is not None:
        decide(atoms)
    info = getattr(atoms.calc, "info", None)
    if info is None or not hasattr(info, "sha256"):
        return type(atoms.calc).__name__, ""
    return f"{info.name}, head {info.head}", f"{info.sha256} {info.weights}"
