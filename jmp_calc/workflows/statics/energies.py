"""Energies of formation, atomisation, adsorption and of surfaces, with any ASE calculator.

formation_energy(nacl, [sodium, chlorine]).numbers["energy_ev_per_atom"]

Every one is a sum over structures that balances in each element; parts by two heads, models or calculators
are refused, and parts that are not relaxed are told.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...errors import ModelError, UsageError
from ...io.outdir import claimed, with_prefix
from ...units import J_M2_PER_EV_A2
from ..common import working_copy
from ..energy_sums import lone_atom_energies
from .parts import adsorption_parts, atomisation_parts, check_surface, formation_parts, surface_parts
from .sum_settings import PartsRelax, SumSettings
from .sums import FORMATION, OUTPUTS, EnergySum, Numbers, Part, summed

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

LONE_ATOM_TOLERANCE_EV = 1e-3
"""A lone atom may miss the reference of its head by so much."""


def formation_energy(
    atoms: Atoms,
    references: Iterable[Atoms],
    *,
    calc: Calculator | None = None,
    relax: PartsRelax = SumSettings.relax,
    fmax: float = SumSettings.fmax,
    relax_steps: int = SumSettings.relax_steps,
    allow_unconverged: bool = SumSettings.allow_unconverged,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    quiet: bool = True,
) -> EnergySum:
    """Energy of a structure above its references: elements in their phases, or any compounds of them.

    Args:
        atoms: the compound, a crystal or a molecule.
        references: structures from which it forms, such as its elements; those that it does not need are
            left out.
        calc: calculator of all structures; each its own if none is given. Default: None.
        relax: what is relaxed first: "none", "positions", or "full", of crystals the cell too. Default:
            "none".
        fmax: largest force left by relaxations, and allowed without a warning, eV/Å. Default: 0.02.
        relax_steps: most steps of each relaxation. Default: 500.
        allow_unconverged: go on where a relaxation did not reach the force limit. Default: False.
        out: folder for parts.extxyz; nothing is written without one. Default: None.
        prefix: PREFIX- before every file name. Default: "".
        quiet: no progress bar. Default: True.

    Returns:
        EnergySum with energy_ev_per_atom; negative where the compound is stable against the references.

    Raises:
        UsageError: no calculator, parts by two methods, references that do not make up the compound or do so
            in several ways, settings that cannot be meant.
        ModelError: a head without atomic reference. NotConvergedError: a relaxation, unless
            ``allow_unconverged``.
    """
    settings = _settings(relax, fmax, relax_steps, allow_unconverged)
    parts = formation_parts(atoms, references)

    def numbers(found: EnergySum) -> Numbers:
        return {"energy_ev_per_atom": found.energy_ev / len(atoms)}

    return _computed(FORMATION, parts, settings, calc, quiet, out, prefix, numbers)


def atomisation_energy(
    atoms: Atoms,
    *,
    calc: Calculator | None = None,
    relax: PartsRelax = SumSettings.relax,
    fmax: float = SumSettings.fmax,
    relax_steps: int = SumSettings.relax_steps,
    allow_unconverged: bool = SumSettings.allow_unconverged,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    quiet: bool = True,
) -> EnergySum:
    """Energy that takes a structure apart into lone atoms: atomisation of molecules, cohesion of crystals.

    Args:
        atoms: molecule or crystal.
        calc: calculator to use; that of ``atoms`` if none is given. Default: None.
        relax: what is relaxed first: "none", "positions", or "full", of crystals the cell too. Default:
            "none".
        fmax: largest force left by relaxations, and allowed without a warning, eV/Å. Default: 0.02.
        relax_steps: most steps of each relaxation. Default: 500.
        allow_unconverged: go on where a relaxation did not reach the force limit. Default: False.
        out: folder for parts.extxyz; nothing is written without one. Default: None.
        prefix: PREFIX- before every file name. Default: "".
        quiet: no progress bar. Default: True.

    Returns:
        EnergySum with energy_ev_per_atom; positive where the structure is bound.

    Raises:
        UsageError: no calculator, settings that cannot be meant.
        ModelError: a head whose references are no lone atoms, one that does not give them their reference
            energy, or one that is only for the other kind of structures. NotConvergedError: a relaxation,
            unless ``allow_unconverged``.
    """
    settings = _settings(relax, fmax, relax_steps, allow_unconverged)
    work = working_copy(atoms, calc)
    known = lone_atom_energies(work)

    def numbers(found: EnergySum) -> Numbers:
        _check_lone_atoms(found, known)
        return {"energy_ev_per_atom": found.energy_ev / len(atoms)}

    parts = atomisation_parts(work)
    return _computed("atomisation energy", parts, settings, work.calc, quiet, out, prefix, numbers)


def adsorption_energy(
    adsorbed: Atoms,
    slab: Atoms,
    adsorbate: Atoms,
    *,
    calc: Calculator | None = None,
    relax: PartsRelax = SumSettings.relax,
    fmax: float = SumSettings.fmax,
    relax_steps: int = SumSettings.relax_steps,
    allow_unconverged: bool = SumSettings.allow_unconverged,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    quiet: bool = True,
) -> EnergySum:
    """Energy of molecules on a surface, relative to the bare surface and the molecules in the gas.

    Args:
        adsorbed: the surface with one or more adsorbates.
        slab: the bare surface, in the same cell.
        adsorbate: the molecule in the gas: without periodicity, or in a box of vacuum.
        calc: calculator of all structures; each its own if none is given. Default: None.
        relax: what is relaxed first: "none" or "positions"; constraints hold. Default: "none".
        fmax: largest force left by relaxations, and allowed without a warning, eV/Å. Default: 0.02.
        relax_steps: most steps of each relaxation. Default: 500.
        allow_unconverged: go on where a relaxation did not reach the force limit. Default: False.
        out: folder for parts.extxyz; nothing is written without one. Default: None.
        prefix: PREFIX- before every file name. Default: "".
        quiet: no progress bar. Default: True.

    Returns:
        EnergySum with energy_ev_per_adsorbate; negative where the molecule is bound.

    Raises:
        UsageError: cells, atoms or constraints that do not belong together, no calculator, parts by two
            methods, settings that cannot be meant. BadStructureError: an adsorbate that is no molecule.
        ModelError: a head without atomic reference. NotConvergedError: a relaxation, unless
            ``allow_unconverged``.
    """
    settings = _settings(relax, fmax, relax_steps, allow_unconverged, cells=False)
    parts = adsorption_parts(adsorbed, slab, adsorbate)

    def numbers(found: EnergySum) -> Numbers:
        count = -round(found.terms[-1].coefficient)
        return {"energy_ev_per_adsorbate": found.energy_ev / count, "n_adsorbates": count}

    return _computed("adsorption energy", parts, settings, calc, quiet, out, prefix, numbers)


def surface_energy(
    slab: Atoms,
    bulk: Atoms,
    *,
    calc: Calculator | None = None,
    relax: PartsRelax = SumSettings.relax,
    fmax: float = SumSettings.fmax,
    relax_steps: int = SumSettings.relax_steps,
    allow_unconverged: bool = SumSettings.allow_unconverged,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    quiet: bool = True,
) -> EnergySum:
    """Energy that a surface costs: that of a slab above the same amount of bulk, over its two faces.

    Args:
        slab: layer of the crystal with vacuum on both sides, made of whole formula units.
        bulk: the crystal, with the lattice that the slab was cut from.
        calc: calculator of both structures; each its own if none is given. Default: None.
        relax: what is relaxed first: "none" or "positions"; constraints hold. Default: "none".
        fmax: largest force left by relaxations, and allowed without a warning, eV/Å. Default: 0.02.
        relax_steps: most steps of each relaxation. Default: 500.
        allow_unconverged: go on where a relaxation did not reach the force limit. Default: False.
        out: folder for parts.extxyz; nothing is written without one. Default: None.
        prefix: PREFIX- before every file name. Default: "".
        quiet: no progress bar. Default: True.

    Returns:
        EnergySum with surface_energy_j_per_m2; the mean of both faces, with a JMPWarning where they differ.

    Raises:
        UsageError: a slab that is not made of whole bulk formula units, no calculator, parts by two methods,
            settings that cannot be meant. BadStructureError: a slab or bulk that is none.
        ModelError: a head without atomic reference. NotConvergedError: a relaxation, unless
            ``allow_unconverged``.
    """
    settings = _settings(relax, fmax, relax_steps, allow_unconverged, cells=False)
    surface = check_surface(slab, bulk, relaxed=relax != "none")

    def numbers(found: EnergySum) -> Numbers:
        per_area = found.energy_ev / (2 * surface.area_a2)
        return {
            "surface_energy_j_per_m2": per_area * J_M2_PER_EV_A2,
            "surface_energy_ev_per_a2": per_area,
            "area_a2": surface.area_a2,
            "faces_alike": surface.faces_alike,
        }

    parts = surface_parts(slab, bulk, surface)
    return _computed("surface energy", parts, settings, calc, quiet, out, prefix, numbers)


def _settings(
    relax: PartsRelax, fmax: float, relax_steps: int, allow_unconverged: bool, *, cells: bool = True
) -> SumSettings:
    settings = SumSettings(
        relax=relax, fmax=fmax, relax_steps=relax_steps, allow_unconverged=allow_unconverged
    )
    if relax == "full" and not cells:
        raise UsageError(
            "Cells of slabs are those of their crystal: relax='full' would change them.",
            hint="relax the crystal first, cut the slab, and use relax='positions'",
        )
    return settings


def _computed(
    kind: str,
    parts: Sequence[Part],
    settings: SumSettings,
    calc: Calculator | None,
    quiet: bool,
    out: str | os.PathLike[str] | None,
    prefix: str,
    numbers: Callable[[EnergySum], Numbers],
) -> EnergySum:
    """The sum with what is quoted of it, written where asked for."""
    with claimed(out, (with_prefix(name, prefix) for name in OUTPUTS)):
        plain = summed(kind, parts, settings, calc=calc, quiet=quiet)
        found = dataclasses.replace(plain, numbers=numbers(plain))
        if out is not None:
            found.write(out, prefix=prefix)
    return found


def _check_lone_atoms(found: EnergySum, known: Mapping[int, float] | None) -> None:
    """ModelError where a model gives lone atoms another energy than its head says they have."""
    for term in found.terms[1:]:
        expected = None if known is None else known.get(int(term.atoms.numbers[0]))
        if expected is not None and not np.isclose(
            term.energy_ev, expected, rtol=1e-6, atol=LONE_ATOM_TOLERANCE_EV
        ):
            raise ModelError(
                f"The model gives a lone {term.atoms.symbols[0]} {term.energy_ev:.4f} eV, and its reference "
                f"says {expected:.4f} eV: it knows nothing of lone atoms.",
                hint="use a model file that subtracts the output for lone atoms, or reference phases "
                "(formation)",
            )
