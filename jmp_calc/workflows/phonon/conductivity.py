"""Thermal conductivity by the phonons of a crystal, with any ASE calculator and phono3py (an extra).

result = conductivity(atoms, supercell="2 2 2")
result.temperatures, result.kappa, result.write("si_kappa")

A. Togo, L. Chaput and I. Tanaka, Phys. Rev. B 91, 094306 (2015).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadInputError, NotConvergedError, UsageError
from ...io.outdir import claimed, with_prefix
from ...machine.packages import require
from ..batches import displaced_forces
from ..common import warn_if_not_smooth, working_copy
from ..kept import Kept, kept_in
from ..statics.crystal import check_crystal
from . import glue
from .cell import check_lattice, residual_stress, right_handed, warn_of_strain
from .conductivity_result import OUTPUTS, ConductivityResult
from .conductivity_settings import ConductivityMethod, ConductivitySettings
from .nac import non_analytical, set_born
from .phonons import start_structure
from .settings import AUTO_MESH_LENGTH_A, supercell_matrix

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

WHAT = "thermal conductivity"
INSTALL = "pip install 'jmp-calc[conductivity]'"
EVERYWHERE = np.ones(3, dtype=bool)
STILL_THZ = 1e-2
"""Modes below this do not take part, as in phono3py's own command."""
MOST_W_M_K = 1e6
"""More than any crystal conducts."""
MOST_OF_ONE = 0.5
"""Share of the conductivity that one mode (with those that are the same by symmetry) may carry."""


def conductivity(
    atoms: Atoms,
    *,
    calc: Calculator | None = None,
    supercell: str | Sequence[int] = ConductivitySettings.supercell,
    min_length: float = ConductivitySettings.min_length,
    fc2_supercell: str | Sequence[int] = ConductivitySettings.fc2_supercell,
    fc2_min_length: float = ConductivitySettings.fc2_min_length,
    displacement: float = ConductivitySettings.displacement,
    pair_cutoff: float | None = ConductivitySettings.pair_cutoff,
    mesh: str | Sequence[int] = ConductivitySettings.mesh,
    method: ConductivityMethod = ConductivitySettings.method,
    isotopes: bool = ConductivitySettings.isotopes,
    boundary_um: float | None = ConductivitySettings.boundary_um,
    tmin: float = ConductivitySettings.tmin,
    tmax: float = ConductivitySettings.tmax,
    tstep: float = ConductivitySettings.tstep,
    relax: bool = ConductivitySettings.relax,
    fmax: float = ConductivitySettings.fmax,
    relax_steps: int = ConductivitySettings.relax_steps,
    allow_unconverged: bool = ConductivitySettings.allow_unconverged,
    fc_symmetry: bool = ConductivitySettings.fc_symmetry,
    symprec: float = ConductivitySettings.symprec,
    imaginary_tolerance_thz: float = ConductivitySettings.imaginary_tolerance_thz,
    born: str | os.PathLike[str] | None = ConductivitySettings.born,
    resume: bool = False,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    plot: bool = True,
    quiet: bool = True,
) -> ConductivityResult:
    """Thermal conductivity of a crystal against temperature, by three-phonon scattering.

    Args:
        atoms: crystal, its cell relaxed; ``atoms`` itself is not changed.
        calc: calculator to use; that of ``atoms`` if none is given. Default: None.
        supercell: of the third-order force constants: "auto" (periodic images of an atom at least
            ``min_length`` apart), three multiples such as "2 2 2", or nine numbers of a matrix. Default:
            "auto".
        min_length: shortest distance between an atom and its image in the automatic supercell of the third
            order, Å. Default: 10.0.
        fc2_supercell: of the second-order force constants, the phonons themselves, in the same words.
            Default: "auto".
        fc2_min_length: the same distance in the automatic supercell of the second order, Å. Default: 20.0.
        displacement: length by which atoms are displaced, Å. Default: 0.03.
        pair_cutoff: pairs of atoms farther apart than this are not displaced together, Å; all pairs if none
            is given. Default: None.
        mesh: q-points, "auto" or three numbers such as "19 19 19". Default: "auto".
        method: "rta", the relaxation time approximation, or "lbte", the direct solution of the Boltzmann
            equation, which takes far more memory. Default: "rta".
        isotopes: let the natural mixture of isotopes scatter too. Default: False.
        boundary_um: mean free path that boundaries allow, µm; no boundaries if none is given. Default: None.
        tmin: lowest temperature, K. Default: 100.0.
        tmax: highest temperature, K. Default: 1000.0.
        tstep: step between temperatures, K. Default: 50.0.
        relax: relax the positions first. Default: True.
        fmax: largest force allowed in the structure before atoms are displaced, eV/Å. Default: 0.0001.
        relax_steps: most steps of the relaxation. Default: 500.
        allow_unconverged: go on when the force limit was not reached. Default: False.
        fc_symmetry: symmetrise the force constants of both orders. Default: True.
        symprec: deviations from symmetry below this are ignored, Å. Default: 1e-05.
        imaginary_tolerance_thz: with frequencies below minus this there is no conductivity, THz. Default:
            0.1.
        born: file with dielectric tensor and Born charges in phonopy's BORN format; they split LO from TO at
            Γ. Default: None.
        resume: take what the folder holds already of an earlier run with the same structure and model, and
            compute the rest; other settings may change. Default: False.
        out: folder for phono3py's file, the tables and the figures; nothing is written without one. Default:
            None.
        prefix: PREFIX- before every file name. Default: "".
        plot: draw figures of the conductivity into the folder. Default: True.
        quiet: no progress bar. Default: True.

    Returns:
        ConductivityResult.

    Raises:
        BadStructureError: no crystal.
        UsageError: phono3py is missing, no calculator, settings that cannot be meant, constraints, atoms of
            one element that differ, a folder into which another job writes or that holds another run to be
            resumed.
        NotConvergedError: forces above ``fmax`` before the displacements, unless ``allow_unconverged``;
            imaginary modes; modes that meet no others.
        BadInputError: forces that are not finite, a BORN file that is none of this crystal.
        Interrupted: after SIGINT or SIGTERM.
    """
    settings = ConductivitySettings(
        supercell=supercell if isinstance(supercell, str) else tuple(supercell),
        min_length=min_length,
        fc2_supercell=fc2_supercell if isinstance(fc2_supercell, str) else tuple(fc2_supercell),
        fc2_min_length=fc2_min_length,
        displacement=displacement,
        pair_cutoff=pair_cutoff,
        mesh=mesh if isinstance(mesh, str) else tuple(mesh),
        method=method,
        isotopes=isotopes,
        boundary_um=boundary_um,
        tmin=tmin,
        tmax=tmax,
        tstep=tstep,
        relax=relax,
        fmax=fmax,
        relax_steps=relax_steps,
        allow_unconverged=allow_unconverged,
        fc_symmetry=fc_symmetry,
        symprec=symprec,
        imaginary_tolerance_thz=imaginary_tolerance_thz,
        born=None if born is None else os.fspath(born),
    )
    require_phono3py()
    work = right_handed(working_copy(atoms, calc))
    check_structure(work)
    with claimed(out, (with_prefix(name, prefix) for name in OUTPUTS)):
        warn_if_not_smooth(work)
        kept = kept_in(out, prefix, work, what="conductivity", resume=resume)
        start, reached = start_structure(work, settings.of_phonons(), quiet, kept)
        result = _computed(start, reached, settings, quiet, kept)
        if out is not None:
            result.write(out, prefix=prefix, plot=plot)
    return result


def require_phono3py() -> None:
    """UsageError when phono3py is missing; JMPError when the phonopy below it is."""
    glue.require_phonopy()
    require("phono3py", "Phono3py is not installed.", INSTALL)


def check_structure(atoms: Atoms) -> None:
    """Refuse what is no crystal, or one whose atoms of one element are told apart.

    Raises:
        BadStructureError: no crystal. UsageError: constraints, atoms that differ.
    """
    check_crystal(atoms, WHAT)
    check_lattice(atoms)
    if glue.told_apart(atoms) != atoms.get_chemical_symbols():
        raise UsageError(
            "Atoms of one element differ in mass, charge, magnetic moment or tag, and phono3py would take "
            "them for equivalent.",
            hint="make them equal; the natural isotopes scatter with --isotopes",
        )


def displaced(atoms: Atoms, settings: ConductivitySettings) -> Any:
    """phono3py's object of a crystal, with the displacements of both orders.

    Raises:
        UsageError: supercells that cannot be meant. BadInputError: a BORN file that is none of this crystal.
    """
    from phono3py import Phono3py
    from phonopy.structure.atoms import PhonopyAtoms

    matrices = [
        supercell_matrix(part, atoms.cell.array, atoms.pbc, EVERYWHERE)
        for part in (settings.of_phonons(), settings.of_fc2())
    ]
    for matrix in matrices:
        glue.check_size(matrix, len(atoms))
    unitcell = PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(),
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="primitive_matrix defaulted to 'auto'")
        found = Phono3py(
            unitcell,
            supercell_matrix=matrices[0],
            primitive_matrix="auto",
            phonon_supercell_matrix=None if np.array_equal(matrices[0], matrices[1]) else matrices[1],
            symprec=settings.symprec,
            cutoff_frequency=STILL_THZ,
        )
    found.generate_displacements(distance=settings.displacement, cutoff_pair_distance=settings.pair_cutoff)
    if settings.born is not None:
        set_born(found, settings.born, EVERYWHERE)
    return found


def cells_of(phono3py: Any, atoms: Atoms) -> tuple[list[Atoms], list[Atoms]]:
    """The displaced supercells of the third and of the second order, without pairs beyond the cutoff."""
    third = [cell for cell in phono3py.supercells_with_displacements if cell is not None]
    second = []
    if phono3py.phonon_supercell_matrix is not None:
        second = phono3py.phonon_supercells_with_displacements
    return (
        glue.as_ase(third, phono3py.supercell, atoms),
        glue.as_ase(second, phono3py.phonon_supercell, atoms),
    )


def set_forces(phono3py: Any, third: np.ndarray, second: np.ndarray, settings: ConductivitySettings) -> None:
    """Force constants of both orders from the forces (n, n_atoms, 3) of ``cells_of``, eV/Å."""
    cells = phono3py.supercells_with_displacements
    forces = np.zeros((len(cells), *third.shape[1:]))  # pairs beyond the cutoff do not feel each other
    forces[[number for number, cell in enumerate(cells) if cell is not None]] = third
    phono3py.forces = forces
    if len(second):
        phono3py.phonon_forces = second
    phono3py.produce_fc3()
    phono3py.produce_fc2()
    if settings.fc_symmetry:
        phono3py.symmetrize_fc3()  # symfc's projector, another way, fails in supercells of a few atoms
        phono3py.symmetrize_fc2()


def _computed(
    start: Atoms, fmax: float, settings: ConductivitySettings, quiet: bool, kept: Kept | None
) -> ConductivityResult:
    """Displace, ask for the forces, scatter; warns of strain."""
    phono3py = displaced(start, settings)
    warn_of_strain(residual_stress(start, EVERYWHERE))
    third, second = cells_of(phono3py, start)
    words: dict[str, Any] = {"what": "displaced supercell", "quiet": quiet, "kept": kept}
    second_forces = displaced_forces(second, bar="second order", **words) if second else np.zeros((0, 1, 3))
    set_forces(phono3py, displaced_forces(third, bar="third order", **words), second_forces, settings)
    scatter(phono3py, settings)
    found = phono3py.thermal_conductivity
    kappa, modes = np.array(found.kappa[0]), np.array(found.mode_kappa[0])
    if not np.isfinite(kappa).all():
        raise BadInputError(
            "The thermal conductivity is not finite.", hint="a denser --mesh, or a higher --tmin"
        )
    result = ConductivityResult(
        atoms=start,
        phono3py=phono3py,
        temperatures=np.array(found.temperatures),
        kappa=kappa,
        frequencies_thz=np.array(found.frequencies),
        mode_kappa=modes,
        n_third=len(third),
        n_second=len(second),
        non_analytical=non_analytical(phono3py, EVERYWHERE, settings.born),
        fmax=fmax,
        settings=settings,
    )
    check_collisions(result)
    return result


def check_collisions(result: ConductivityResult) -> None:
    """Refuse what no crystal has.

    Raises:
        NotConvergedError: modes that meet no others, all of them or one that carries everything.
    """
    if result.mean.max() > MOST_W_M_K:
        raise NotConvergedError(
            f"The thermal conductivity comes out as {result.mean.max():.2g} W/m/K: the modes do not collide.",
            hint="a larger --supercell: in small ones, such as 2 2 2 of a primitive cell, the third-order "
            "force constants may vanish by symmetry",
        )
    share = result.largest_share
    if share > MOST_OF_ONE:
        mesh = "×".join(str(n) for n in result.phono3py.mesh_numbers)
        raise NotConvergedError(
            f"One mode carries {100 * share:.3g} % of the thermal conductivity: on the mesh of {mesh} it "
            "hardly meets others.",
            hint="--resume with a denser --mesh",
        )


def scatter(phono3py: Any, settings: ConductivitySettings) -> None:
    """Thermal conductivity of a phono3py object with force constants.

    Raises:
        NotConvergedError: imaginary modes.
    """
    phono3py.mesh_numbers = AUTO_MESH_LENGTH_A if settings.mesh == "auto" else list(settings.mesh)
    with glue.quiet_meshes():
        phono3py.init_phph_interaction(  # else rounding decides in the third digit where bands are degenerate
            symmetrize_tetrahedra=True, average_degenerate_weights=True, exclude_gamma_acoustic=True
        )
        phono3py.run_phonon_solver()
        lowest = float(phono3py.get_phonon_data()[0].min())
        if lowest < -settings.imaginary_tolerance_thz:
            raise NotConvergedError(
                f"Imaginary modes down to {lowest:.3f} THz: such a crystal has no thermal conductivity.",
                hint="relax the cell (jmp-calc relax --opt-cell full) or give a larger --fc2-supercell; "
                "jmp-calc phonons names the modes",
            )
        phono3py.run_thermal_conductivity(
            is_LBTE=settings.method == "lbte",
            temperatures=settings.temperatures,
            is_isotope=settings.isotopes,
            boundary_mfp=settings.boundary_um,
            log_level=0,
        )
