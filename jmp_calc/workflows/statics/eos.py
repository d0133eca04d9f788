"""Equation of state of a crystal with any ASE calculator: energies at several volumes and ASE's fit.

result = eos(atoms)
result.fit.bulk_modulus_gpa, result.fit.volume_a3, result.write("cu_eos")
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from ...errors import JMPWarning
from ...io.outdir import claimed, with_prefix
from ...units import GPA_PER_EV_A3
from ..common import has_stress, warn_if_not_smooth, working_copy
from ..kept import Kept, kept_in
from ..relax_cell import space_group
from .crystal import at_volumes, check_crystal
from .eos_fit import fitted
from .eos_result import OUTPUTS, EosResult
from .eos_settings import EosForm, EosRelax, EosSettings
from .together import evaluated, kept_relaxations, relaxed

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

WHAT = "an equation of state"
ROUGH_SHARE = 0.05
"""Of what the energies span: energies that miss the curve by more are on no smooth curve."""
MISMATCH_SHARE = 0.1
"""Of what the pressures of the curve span: a stress that differs by more is not its slope."""


def eos(
    atoms: Atoms,
    *,
    calc: Calculator | None = None,
    min_volume: float = EosSettings.min_volume,
    max_volume: float = EosSettings.max_volume,
    n_volumes: int = EosSettings.n_volumes,
    form: EosForm = EosSettings.form,
    relax: EosRelax = EosSettings.relax,
    fmax: float = EosSettings.fmax,
    relax_steps: int = EosSettings.relax_steps,
    allow_unconverged: bool = EosSettings.allow_unconverged,
    symprec: float = EosSettings.symprec,
    resume: bool = False,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    plot: bool = True,
    quiet: bool = True,
) -> EosResult:
    """Energies of scaled copies of a crystal, the curve through them, and its bulk modulus.

    Args:
        atoms: crystal, its cell near the minimum; ``atoms`` itself is not changed.
        calc: calculator to use; that of ``atoms`` if none is given. Default: None.
        min_volume: smallest volume, relative to that of the structure. Default: 0.94.
        max_volume: largest volume, relative to that of the structure. Default: 1.06.
        n_volumes: number of volumes, at least 5. Default: 7.
        form: equation of state: "birchmurnaghan", "vinet", "murnaghan" or "pouriertarantola"; the bulk
            modulus by the others is told beside it. Default: "birchmurnaghan".
        relax: what is relaxed at each volume: "none"; "positions"; "shape", positions and the cell at
            constant volume, for crystals whose axes are compressed differently. Default: "positions".
        fmax: largest force left by these relaxations, eV/Å. Default: 0.001.
        relax_steps: most steps of each relaxation. Default: 500.
        allow_unconverged: go on where a relaxation did not reach the force limit. Default: False.
        symprec: deviations from symmetry below this are ignored when space groups are compared, Å. Default:
            0.01.
        resume: take what a killed run has computed in the folder, and do the rest. Default: False.
        out: folder for the files; nothing is written without one. Default: None.
        prefix: PREFIX- before every file name. Default: "".
        plot: draw energies and pressures against volumes into the folder. Default: True.
        quiet: no progress bar. Default: True.

    Returns:
        EosResult; look at ``minimum_inside``, nothing is raised when the minimum is beyond the volumes.

    Raises:
        BadStructureError: no crystal. UsageError: no calculator, settings that cannot be meant, constraints,
            a folder into which another job writes or with another run.
        NotConvergedError: a relaxation that did not reach ``fmax``, unless ``allow_unconverged``.
        BadInputError: energies that are not finite. Interrupted: after SIGINT or SIGTERM.
    """
    settings = EosSettings(
        min_volume=min_volume,
        max_volume=max_volume,
        n_volumes=n_volumes,
        form=form,
        relax=relax,
        fmax=fmax,
        relax_steps=relax_steps,
        allow_unconverged=allow_unconverged,
        symprec=symprec,
    )
    work = working_copy(atoms, calc)
    check_crystal(work, WHAT)
    with claimed(out, (with_prefix(name, prefix) for name in OUTPUTS)):
        warn_if_not_smooth(work)
        journal = kept_relaxations(out, prefix, resume=resume)
        kept = kept_in(out, prefix, work, what="eos", resume=resume)
        result = _computed(work, settings, journal, kept, quiet)
        if out is not None:
            result.write(out, prefix=prefix, plot=plot)
    return result


def _computed(
    work: Atoms, settings: EosSettings, journal: Path | None, kept: Kept | None, quiet: bool
) -> EosResult:
    """Scale, relax, evaluate, fit; warns of what makes the curve worth less."""
    structures = at_volumes(work, settings.scales)
    if settings.relax != "none":
        structures = relaxed(
            structures,
            fmax=settings.fmax,
            steps=settings.relax_steps,
            cell="shape" if settings.relax == "shape" else "none",
            allow_unconverged=settings.allow_unconverged,
            what="volume",
            quiet=quiet,
            journal=journal,
            kept=kept,
        )
    with_stress = _has_stress(structures[0], kept)
    asked = ["energy", "forces", *(["stress"] if with_stress else [])]
    frames = evaluated(structures, asked, what="volume", quiet=quiet, kept=kept)
    volumes = np.array([frame.get_volume() for frame in frames])
    energies = np.array([frame.get_potential_energy() for frame in frames])
    pressures = None
    if with_stress:
        pressures = np.array([-frame.get_stress()[:3].mean() * GPA_PER_EV_A3 for frame in frames])
    result = EosResult(
        frames=tuple(frames),
        volumes_a3=volumes,
        energies_ev=energies,
        pressures_gpa=pressures,
        fits={form: fitted(volumes, energies, form) for form in get_args(EosForm)},
        space_groups=tuple(space_group(frame, settings.symprec) for frame in frames),
        settings=settings,
    )
    _warn(result)
    return result


def _has_stress(atoms: Atoms, kept: Kept | None) -> bool:
    """As ``has_stress``, asked once for all runs that go on."""
    if kept is None:
        return has_stress(atoms)
    return bool(kept.once("has stress", lambda: {"answer": has_stress(atoms)})["answer"])


def _warn(result: EosResult) -> None:
    """JMPWarning of several phases, energies on no curve, and a stress that is not its slope."""
    groups = list(dict.fromkeys(str(group) for group in result.space_groups))
    if len(groups) > 1:
        text = f"the space group changes with the volume ({', '.join(groups)}): one curve runs through phases"
        warnings.warn(text, JMPWarning, stacklevel=4)
    fit = result.fit
    if fit is None:
        return
    span = float(np.ptp(result.energies_ev))
    if fit.residual_ev > ROUGH_SHARE * span:
        text = (
            f"the energies miss the curve by {1e3 * fit.residual_ev / len(result.frames[0]):.2g} meV/atom, "
            f"{100 * fit.residual_ev / span:.0f} % of what they span: they are on no smooth curve"
        )
        warnings.warn(text, JMPWarning, stacklevel=4)
    mismatch, slope = result.pressure_mismatch_gpa, fit.pressures_at(result.volumes_a3)
    if mismatch is not None and mismatch > MISMATCH_SHARE * float(np.ptp(slope)):
        text = (
            f"the pressures from the stress differ from those of the curve by up to {mismatch:.2g} GPa: "
            "energy and stress do not belong together, or the volumes span more than the form describes"
        )
        warnings.warn(text, JMPWarning, stacklevel=4)
