"""Errors against DFT that the model never saw: molecules of 3BPA, crystals of compounds that validate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from jmp_calc.io.structures import read_frames
from jmp_calc.training.pretraining.compounds import formula_of, validates
from jmp_calc.units import GPA_PER_EV_A3

from .model import CRYSTALS, CardModel, knows

ELEMENTS = 85
"""That the head of crystals should know."""


def compound_validates(atoms: Atoms) -> bool:
    """Whether a crystal is of the tenth of all compounds that no jmp-xs is trained on."""
    return validates(formula_of(atoms.numbers))


def below_300_gpa(atoms: Atoms) -> bool:
    """The same for crystals_tp, whose frames above 300 GPa have names of their own."""
    return compound_validates(atoms) and not str(atoms.info["config_type"]).endswith("_high")


@dataclass(frozen=True)
class Unseen:
    """One set."""

    level: str
    chosen: Callable[[Atoms], bool]
    limit_forces: float
    """meV/Å"""
    limit_stress: float | None = None
    """GPa"""
    compared: str = ""
    """What others have on it."""


SETS = {
    "bpa3_test": Unseen("wB97X molecules", lambda atoms: True, 85.0, compared="ANI-2x 76"),
    "mptrj_sample": Unseen(
        CRYSTALS, compound_validates, 70.0, compared="Nequix-OAM-1 29, CHGNet 49 (60 frames like these)"
    ),
    "crystals_tp": Unseen(
        CRYSTALS,
        below_300_gpa,
        440.0,
        7.0,
        compared="Nequix-OAM-1 218 and 1.8 GPa, CHGNet 444 and 7.2 (60 frames like these)",
    ),
}


def names(model: CardModel) -> list[str]:
    """The sets."""
    return list(SETS)


def measured(name: str, model: CardModel) -> dict[str, Any]:
    """Errors on the frames that the head accepts, and how many these are."""
    wanted = SETS[name]
    head = model.head(wanted.level)
    if head is None:
        return {"passed": False, "note": "no head of this level of theory"}
    frames = [a for a in read_frames(model.data / f"{name}.xyz.gz") if wanted.chosen(a)]
    config = model.config(head.name)
    accepted = [atoms for atoms in frames if knows(config, atoms.numbers)]
    all_elements = {int(z) for atoms in read_frames(model.data / f"{name}.xyz.gz") for z in atoms.numbers}
    row = head.row() | {
        "frames": len(frames),
        "accepted": len(accepted),
        "elements_of_the_set": len(all_elements),
        "elements_accepted": sum(knows(config, [z]) for z in all_elements),
        "elements_of_the_head": None if config.elements is None else len(config.elements),
        "limit_forces_mae_mev_per_a": wanted.limit_forces,
        "limit_stress_mae_gpa": wanted.limit_stress,
        "compared": wanted.compared,
    }
    if not accepted:
        return row | {"passed": False}
    row |= errors(model, head.name, accepted)
    passed = row["forces_mae_mev_per_a"] <= wanted.limit_forces and len(accepted) == len(frames)
    if wanted.limit_stress is not None:
        passed &= row["stress_mae_gpa"] <= wanted.limit_stress
    if wanted.level == CRYSTALS:
        passed &= row["elements_of_the_head"] is None or row["elements_of_the_head"] >= ELEMENTS
    return row | {"passed": bool(passed)}


def errors(model: CardModel, head: str, frames: list[Atoms]) -> dict[str, float]:
    """Errors of a head on labelled frames, by component of forces and stresses, and of energies without
    their median difference (zeros of energy differ)."""
    stresses = all(atoms.pbc.all() for atoms in frames)
    wanted = ("energy", "forces", "stress") if stresses else ("energy", "forces")
    found = model.calculator(head).batch(frames, wanted)
    forces = np.concatenate([one["forces"].ravel() for one in found])
    labels = np.concatenate([atoms.get_forces(apply_constraint=False).ravel() for atoms in frames])
    energies = [
        (one["energy"] - atoms.get_potential_energy()) / len(atoms) for one, atoms in zip(found, frames)
    ]
    row = {
        "forces_mae_mev_per_a": 1e3 * float(np.abs(forces - labels).mean()),
        "mean_force_mev_per_a": 1e3 * float(np.abs(labels).mean()),
        "forces_correlation": float(np.corrcoef(forces, labels)[0, 1]),
        "energy_mae_mev_per_atom": 1e3 * float(np.abs(energies).mean()),
        "energy_shifted_mae_mev_per_atom": 1e3 * float(np.abs(energies - np.median(energies)).mean()),
    }
    if stresses:
        off = [one["stress"] - atoms.get_stress(voigt=True) for one, atoms in zip(found, frames)]
        row["stress_mae_gpa"] = GPA_PER_EV_A3 * float(np.abs(off).mean())
    return row
