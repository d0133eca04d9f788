"""Energies that are added and subtracted (formation, adsorption, reaction) must have one zero: one check for
all of them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..errors import JMPWarning, ModelError, UsageError
from .potentials import parameters_of

if TYPE_CHECKING:
    from ase import Atoms

_OF_A_PART = {
    "accuracy",
    "charge",
    "kpts",
    "max_iterations",
    "multiplicity",
    "nbands",
    "spin",
    "spinpol",
    "verbosity",
}
"""Parameters of calculators that may differ between a slab, a crystal and a molecule in one sum."""


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
            last = f"{second[0]}, other weights or parameters" if first[0] == second[0] else second[0]
            raise UsageError(
                f"The energies of {one} ({first[0]}) and {other} ({last}) have different zeros: their "
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
    info, dispersion = getattr(atoms.calc, "info", None), getattr(atoms.calc, "dispersion", None)
    added = "" if dispersion is None else f" with {dispersion}"
    if info is None or not hasattr(info, "sha256"):
        return f"{type(atoms.calc).__name__}{added}", _settings(atoms.calc)
    level = info.level_of_theory.partition(" (")[0].partition(", ")[0]
    theory = f", {level}" if level else ""
    return f"{info.name}, head {info.head}{theory}{added}", f"{info.sha256} {info.weights}"


def _settings(calculator: Any) -> str:
    """The parameters that energies of one zero share. Of programs beside this one, which read files, none is
    compared: meshes and tolerances of a slab and of a molecule differ."""
    if hasattr(calculator, "command") or hasattr(calculator, "profile"):
        return ""
    found = {name: value for name, value in parameters_of(calculator).items() if name not in _OF_A_PART}
    return json.dumps(found, sort_keys=True)


def warn_of_mixed_u(parts: Mapping[str, Atoms]) -> None:
    """JMPWarning for energies of formation by a JMP head whose labels have +U, which some compounds have and
    their elements have not; other calculators are not asked.

    ``parts``: the structures, each with its calculator and its head chosen, by what they are in the sum.
    """
    infos = (getattr(atoms.calc, "info", None) for atoms in parts.values())
    for info in infos:
        if info is None or not hasattr(info, "heads"):
            continue
        theory = next(head.theory for head in info.heads if head.name == info.head)
        if theory.hubbard_u not in ("", "none"):
            text = (
                f"the labels of head {info.head} of {info.name} have +U ({theory.hubbard_u}): where some "
                "parts have it and others not, their energies need a correction that is not made here"
            )
            warnings.warn(text, JMPWarning, stacklevel=5)
            return


def check_zero(parts: Mapping[str, Atoms]) -> None:
    """Refuse energies of a JMP head whose zero is arbitrary; other calculators are not asked.

    ``parts``: the structures, each with its calculator and its head chosen, by what they are in the sum.

    Raises:
        ModelError: a head without atomic reference.
    """
    for name, atoms in parts.items():
        info = getattr(atoms.calc, "info", None)
        if info is not None and getattr(info, "has_atomic_reference", None) is False:
            raise ModelError(
                f"Energies of head {info.head} of {info.name} have an arbitrary zero for each element: sums "
                f"with them ({name}) mean nothing.",
                hint="choose a head with atomic references (jmp-calc models info)",
            )


def lone_atom_energies(atoms: Atoms) -> dict[int, float] | None:
    """Energies (eV) of lone atoms that the head of a JMPCalculator refers to, by atomic number; None: another
    calculator. A JMPWarning where they are estimates.

    Raises:
        ModelError: a head whose references are no energies of lone atoms.
    """
    info = getattr(atoms.calc, "info", None)
    if info is None or not hasattr(info, "heads"):
        return None
    head = next(head for head in info.heads if head.name == info.head)
    estimated = head.reference_kind == "least_squares" and head.binding
    if estimated:
        text = f"lone atoms of head {head.name} of {info.name} are estimates: {info.energy_reference}"
        warnings.warn(text, JMPWarning, stacklevel=3)
    elif head.reference_kind != "isolated_atoms":
        raise ModelError(
            f"Lone atoms of head {head.name} of {info.name} have no energy that means anything: its zero is "
            f"{info.energy_reference}.",
            hint="choose a head whose references are isolated atoms (jmp-calc models info), or reference "
            "phases (formation)",
        )
    return dict(head.references)
