"""Elastic constants of a crystal with any ASE calculator: stresses of strained cells, matscipy's fit.

result = elastic(atoms)
result.tensor.constants_gpa, result.tensor.hill, result.write("cu_elastic")
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import JMPWarning, UsageError
from ...io.outdir import claimed, with_prefix
from ...units import GPA_PER_EV_A3
from ..common import has_stress, warn_if_not_smooth, working_copy
from ..kept import Kept, kept_in
from ..relax_cell import point_group, space_group, standard_axes
from .crystal import STRESS_LIMIT_GPA, check_crystal, largest_stress_gpa
from .elastic_result import OUTPUTS, ElasticResult
from .elastic_settings import ElasticSettings, Ions
from .tensor import ElasticTensor, symmetrised
from .together import evaluated, kept_relaxations, relaxed

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

WHAT = "elastic constants"
ERROR_SHARE, GAP_SHARE = 0.02, 0.02
"""Of the largest constant: errors of slopes, and a lack of symmetry, that are worth a warning."""


def elastic(
    atoms: Atoms,
    *,
    calc: Calculator | None = None,
    max_strain: float = ElasticSettings.max_strain,
    n_strains: int = ElasticSettings.n_strains,
    ions: Ions = ElasticSettings.ions,
    fmax: float = ElasticSettings.fmax,
    relax_steps: int = ElasticSettings.relax_steps,
    allow_unconverged: bool = ElasticSettings.allow_unconverged,
    symprec: float = ElasticSettings.symprec,
    resume: bool = False,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    plot: bool = True,
    quiet: bool = True,
) -> ElasticResult:
    """Elastic constants of a crystal, with clamped and with relaxed ions, and the moduli that follow.

    Args:
        atoms: crystal with its cell relaxed already; its positions are relaxed first, on a copy.
        calc: calculator to use; that of ``atoms`` if none is given. Default: None.
        max_strain: largest strain of each of the six components (shear strains as engineers count them).
            Default: 0.005.
        n_strains: strained cells of each component, from -max_strain to max_strain. Default: 4.
        ions: "relaxed" lets the atoms relax in the strained cells, beside the tensor without that; "clamped"
            computes the latter only. Default: "relaxed".
        fmax: largest force left by these relaxations, eV/Å. Default: 0.0001.
        relax_steps: most steps of each relaxation. Default: 500.
        allow_unconverged: go on where a relaxation did not reach the force limit. Default: False.
        symprec: deviations from symmetry below this are ignored, Å. Default: 0.01.
        resume: take what a killed run has computed in the folder, and do the rest. Default: False.
        out: folder for the files; nothing is written without one. Default: None.
        prefix: PREFIX- before every file name. Default: "".
        plot: draw stress against strain and Young's modulus against direction into the folder. Default: True.
        quiet: no progress bar. Default: True.

    Returns:
        ElasticResult; look at ``tensor.stable``, nothing is raised for an unstable crystal.

    Raises:
        BadStructureError: no crystal. UsageError: no calculator or one without stress, settings that cannot
            be meant, constraints, a folder into which another job writes or with another run.
        NotConvergedError: a relaxation that did not reach ``fmax``, unless ``allow_unconverged``.
        BadInputError: stresses that are not finite. Interrupted: after SIGINT or SIGTERM.
    """
    settings = ElasticSettings(
        max_strain=max_strain,
        n_strains=n_strains,
        ions=ions,
        fmax=fmax,
        relax_steps=relax_steps,
        allow_unconverged=allow_unconverged,
        symprec=symprec,
    )
    work = working_copy(atoms, calc)
    check_crystal(work, WHAT)
    if not has_stress(work):
        raise UsageError(
            "The calculator gives no stress for this structure, and elastic constants are its slope.",
            hint="use a calculator with stress",
        )
    with claimed(out, (with_prefix(name, prefix) for name in OUTPUTS)):
        warn_if_not_smooth(work)
        journal = kept_relaxations(out, prefix, resume=resume)
        kept = kept_in(out, prefix, work, what="elastic", resume=resume)
        result = _computed(work, settings, _Run(journal, kept, quiet))
        if out is not None:
            result.write(out, prefix=prefix, plot=plot)
    return result


@dataclass(frozen=True)
class _Run:
    """How one run evaluates and relaxes, and where it keeps what it has done."""

    journal: Path | None
    kept: Kept | None
    quiet: bool

    def evaluated(self, structures: Sequence[Atoms], what: str) -> list[Atoms]:
        """Copies with energy, forces and stress."""
        asked = ("energy", "forces", "stress")
        return evaluated(structures, asked, what=what, quiet=self.quiet, kept=self.kept)

    def relaxed(
        self, structures: Sequence[Atoms], settings: ElasticSettings, known: Sequence[Atoms] | None, what: str
    ) -> list[Atoms]:
        """Copies with relaxed positions; ``known``: what ``evaluated`` gave for them."""
        return relaxed(
            structures,
            fmax=settings.fmax,
            steps=settings.relax_steps,
            allow_unconverged=settings.allow_unconverged,
            what=what,
            quiet=self.quiet,
            known=known,
            journal=self.journal,
            kept=self.kept,
        )


def _computed(work: Atoms, settings: ElasticSettings, run: _Run) -> ElasticResult:
    """Relax, strain, evaluate, relax in the strained cells, fit; warns of what the tensor suffers from."""
    (start,) = run.relaxed([work], settings, None, "unstrained cell")
    rotations = point_group(start, settings.symprec)
    (unstrained,) = run.evaluated([start], "unstrained cell")
    strained = strained_cells(start, settings)
    frames = run.evaluated(strained, "strained cell")
    clamped, with_relaxed = _fitted(frames, rotations, settings), None
    if settings.ions == "relaxed":
        moved = run.relaxed(strained, settings, frames, "strained cell")
        frames = run.evaluated(moved, "relaxed strained cell")
        with_relaxed = _fitted(frames, rotations, settings)
    result = ElasticResult(
        atoms=unstrained,
        clamped=clamped,
        relaxed=with_relaxed,
        frames=tuple(frames),
        space_group=space_group(start, settings.symprec),
        axes=standard_axes(start, settings.symprec),
        n_rotations=len(rotations),
        stress_gpa=tuple(float(s) * GPA_PER_EV_A3 for s in unstrained.get_stress()),
        fmax=float(np.linalg.norm(unstrained.get_forces(), axis=1).max()),
        settings=settings,
    )
    _warn(result)
    return result


def strained_cells(atoms: Atoms, settings: ElasticSettings) -> list[Atoms]:
    """The structure with each Voigt component of the strain alone, from -max_strain to max_strain, with its
    calculator and, in ``info``, the strain (3, 3)."""
    from matscipy.elasticity import generate_strained_configs

    return list(generate_strained_configs(atoms, "triclinic", settings.n_strains, settings.step))


def _fitted(frames: Sequence[Atoms], rotations: np.ndarray, settings: ElasticSettings) -> ElasticTensor:
    """matscipy's fit of all 21 constants, and what the symmetry of the crystal makes of them."""
    from matscipy.elasticity import fit_elastic_constants

    constants, errors = fit_elastic_constants(
        list(frames), "triclinic", settings.n_strains, settings.step, verbose=False
    )
    fitted = constants * GPA_PER_EV_A3
    return ElasticTensor(symmetrised(fitted, rotations), fitted, errors * GPA_PER_EV_A3)


def _warn(result: ElasticResult) -> None:
    """JMPWarning of a strained start, of stress that is not linear, and of a tensor less symmetric than the
    crystal."""
    stress = largest_stress_gpa(result.atoms.get_stress())
    if stress > STRESS_LIMIT_GPA:
        text = (
            f"the unstrained cell is under {stress:.2g} GPa: the constants and the verdict "
            "on stability are of a crystal under stress, so relax it first (relax --opt-cell full)"
        )
        warnings.warn(text, JMPWarning, stacklevel=4)
    tensor = result.tensor
    largest = float(np.abs(tensor.constants_gpa).max())
    if tensor.errors_gpa.max() > ERROR_SHARE * largest:
        text = (
            f"stress is not linear in strain: errors of the slopes reach {tensor.errors_gpa.max():.2g} GPa; "
            "use a smaller max_strain, smaller forces (fmax) or double precision"
        )
        warnings.warn(text, JMPWarning, stacklevel=4)
    if tensor.symmetry_gap_gpa > GAP_SHARE * largest:
        text = (
            f"the tensor is less symmetric than the crystal ({result.space_group}): symmetry changes it by "
            f"up to {tensor.symmetry_gap_gpa:.2g} GPa"
        )
        warnings.warn(text, JMPWarning, stacklevel=4)
