"""What the workflows share: asking any ASE calculator, frozen copies of frames, writing files with a
prefix."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import a_calculator, one_structure
from ..checks import check_sound
from ..errors import UsageError
from ..io.atomic import replacing
from ..io.outdir import with_prefix
from ..io.write import write_extxyz
from ..unread import state_keys
from .constraints import mend

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

LABELS = frozenset(
    {"energy", "free_energy", "energies", "force", "forces", "stress", "stresses", "virial", "virials"}
)
"""Names, also after REF_, under which files carry what was computed elsewhere."""
logger = logging.getLogger("jmp_calc")


def output_path(folder: str | os.PathLike[str], name: str, prefix: str = "") -> Path:
    """``folder/name`` or ``folder/prefix-name``; creates the folder."""
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    return path / with_prefix(name, prefix)


def working_copy(atoms: Atoms, calc: Calculator | None = None) -> Atoms:
    """Copy of ``atoms`` (constraints, masses, momenta included) with ``calc``, or else the same calculator.

    Labels in ``info`` and ``arrays`` (REF_energy, ...) are left out: they belong to the positions of the
    input, and training would take them for labels of the frames that are written.

    Raises:
        UsageError: no Atoms, no calculator, or what was given is none. BadStructureError: a structure that
            cannot be evaluated; it is named here, before optimizers, integrators and spglib see NaN or a cell
            without volume.
        ModelError: a JMPCalculator that computes structures of the other kind (molecules, periodic ones).
    """
    atoms = one_structure(atoms)
    calc = atoms.calc if calc is None else a_calculator(calc)
    if calc is None:
        raise UsageError("The structure has no calculator.", hint="set atoms.calc = JMPCalculator(...) first")
    check_sound(atoms)
    copy = atoms.copy()
    drop_labels(copy)
    mend(copy)
    copy.calc = calc
    decide = getattr(calc, "decide_head", None)  # now: files and restarts name the head that computes
    told = None if decide is None else decide(copy)
    if told is not None:
        logger.warning(told)
    return copy


def drop_labels(atoms: Atoms) -> set[str]:
    """Take the labels out of ``info`` and ``arrays``: LABELS, and what begins with REF_, but for charge and
    spin of the structure; returns their keys."""
    state, dropped = state_keys(atoms.info), set()
    for fields in (atoms.info, atoms.arrays):
        for key in [key for key in fields if _is_label(str(key)) and key not in state]:
            del fields[key]
            dropped.add(str(key))
    return dropped


def _is_label(key: str) -> bool:
    return key.startswith("REF_") or key.lower().removeprefix("ref_") in LABELS


def has_stress(atoms: Atoms) -> bool:
    """Whether the calculator gives a stress for this structure (evaluates it once)."""
    return _answers(atoms.get_stress)


def has_forces(atoms: Atoms) -> bool:
    """Whether the calculator gives forces for this structure (evaluates it once)."""
    return _answers(atoms.get_forces)


def energy_std(atoms: Atoms) -> float | None:
    """Standard deviation of the energy, eV; None where the calculator gives none."""
    if "energy_std" not in getattr(atoms.calc, "implemented_properties", ()):
        return None
    return float(atoms.calc.get_property("energy_std", atoms))


def _answers(ask: Callable[[], Any]) -> bool:
    from ase.calculators.calculator import PropertyNotImplementedError

    try:
        ask()
    except (PropertyNotImplementedError, NotImplementedError, ValueError):
        return False
    return True


def jmp_calculator(calculator: Any) -> Any:
    """The calculator if it is a JMPCalculator, also with dispersion, which can do more than others (batches,
    Hessians); else None."""
    module = sys.modules.get("jmp_calc.calculator")  # not imported: another calculator needs no torch
    summed = sys.modules.get("jmp_calc.dispersion")
    network = calculator
    if summed is not None and isinstance(calculator, summed.DispersionCalculator):
        network = calculator.base
    known = module is not None and isinstance(network, module.JMPCalculator)
    return calculator if known else None


def raw_results(structures: Sequence[Atoms], properties: Sequence[str]) -> list[dict[str, Any]]:
    """Energy (eV), forces (n_atoms, 3) in eV/Å and stress (6,) in eV/Å³ (those of ``properties``) without
    constraints of structures that share a calculator; a JMPCalculator batches."""
    jmp = jmp_calculator(structures[0].calc)
    if len(structures) > 1 and jmp is not None:
        batched = jmp.batch(structures, properties)
        return [{name: results[name] for name in properties} for results in batched]
    return [{name: _raw_result(atoms, name) for name in properties} for atoms in structures]


def _raw_result(atoms: Atoms, name: str) -> Any:
    if name == "energy":
        return float(atoms.get_potential_energy(apply_constraint=False))
    ask = {"forces": atoms.get_forces, "stress": atoms.get_stress}[name]
    return np.array(ask(apply_constraint=False))


def snapshot(atoms: Atoms, *, stress: bool = False, info: dict[str, Any] | None = None) -> Atoms:
    """Copy of ``atoms`` carrying its own energy (eV), raw forces (eV/Å) and, if asked, stress (eV/Å³).

    Of the potential alone: constraints zero nothing, and springs (Hookean, ExternalForce) add neither energy
    nor forces. ``copy.get_potential_energy()`` adds the energy of the springs that the copy carries.
    """
    from ase.calculators.singlepoint import SinglePointCalculator

    copy = atoms.copy()
    results: dict[str, Any] = {
        "energy": float(atoms.get_potential_energy(apply_constraint=False)),
        "forces": np.array(atoms.get_forces(apply_constraint=False)),
    }
    if stress:
        results["stress"] = np.array(atoms.get_stress(apply_constraint=False))
    copy.calc = SinglePointCalculator(copy, **results)
    copy.info.update(info or {})
    return copy


def write_frames(path: str | os.PathLike[str], frames: Sequence[Atoms], *, append: bool = False) -> None:
    """Write frames as extxyz, with the calculator's results: a whole file atomically, or appended."""
    if append:
        write_extxyz(Path(path), frames, append=True)
        return
    with replacing(path) as temporary:
        write_extxyz(temporary, frames)


def warn_if_not_smooth(atoms: Atoms) -> None:
    """Let the calculator warn when its energy jumps at this structure (only JMPCalculator knows)."""
    check = getattr(atoms.calc, "warn_if_not_smooth", None)
    if check is not None:
        check(atoms)
