"""Thermal expansion and what goes with it by the quasi-harmonic approximation, with any ASE calculator.

result = qha(atoms, supercell="3 3 3")
result.volume, result.thermal_expansion, result.modes.mean, result.write("si_qha")
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import JMPWarning, NotConvergedError
from ...io.outdir import claimed, with_prefix
from ...units import GPA_PER_EV_A3, KJ_MOL
from ..common import warn_if_not_smooth, working_copy
from ..kept import Kept, kept_in
from ..relax_settings import CellMode
from ..statics.crystal import at_volumes, check_crystal
from ..statics.together import evaluated
from ..statics.volumes import FEWEST_VOLUMES
from . import glue
from .cell import check_lattice, right_handed
from .gruneisen import mode_gruneisen, run_gruneisen
from .nac import non_analytical, set_born
from .phonons import forces_of, relaxed_start
from .qha_result import OUTPUTS, QhaResult
from .qha_settings import QhaEos, QhaRelax, QhaSettings
from .settings import supercell_matrix

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

WHAT = "thermal expansion"
EVERYWHERE = np.ones(3, dtype=bool)
J_MOL = 1e-3 * KJ_MOL
"""eV."""


def qha(
    atoms: Atoms,
    *,
    calc: Calculator | None = None,
    min_volume: float = QhaSettings.min_volume,
    max_volume: float = QhaSettings.max_volume,
    n_volumes: int = QhaSettings.n_volumes,
    eos: QhaEos = QhaSettings.eos,
    pressure_gpa: float = QhaSettings.pressure_gpa,
    relax: QhaRelax = QhaSettings.relax,
    supercell: str | Sequence[int] = QhaSettings.supercell,
    min_length: float = QhaSettings.min_length,
    displacement: float = QhaSettings.displacement,
    mesh: str | Sequence[int] = QhaSettings.mesh,
    tmax: float = QhaSettings.tmax,
    tstep: float = QhaSettings.tstep,
    fmax: float = QhaSettings.fmax,
    relax_steps: int = QhaSettings.relax_steps,
    allow_unconverged: bool = QhaSettings.allow_unconverged,
    symprec: float = QhaSettings.symprec,
    imaginary_tolerance_thz: float = QhaSettings.imaginary_tolerance_thz,
    born: str | os.PathLike[str] | None = QhaSettings.born,
    resume: bool = False,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    plot: bool = True,
    quiet: bool = True,
) -> QhaResult:
    """Phonons of a crystal at several volumes: volume, bulk modulus and heat capacity against temperature,
    and Grüneisen parameters.

    Args:
        atoms: crystal, its cell relaxed; ``atoms`` itself is not changed.
        calc: calculator to use; that of ``atoms`` if none is given. Default: None.
        min_volume: smallest volume, relative to that of the structure. Default: 0.96.
        max_volume: largest volume, relative to that of the structure; it should be beyond that of the highest
            temperature. Default: 1.08.
        n_volumes: number of volumes, at least 5. Default: 7.
        eos: equation of state that is fitted at each temperature: "vinet", "birch_murnaghan" or "murnaghan".
            Default: "vinet".
        pressure_gpa: pressure on the crystal, GPa. Default: 0.0.
        relax: what is relaxed at each volume: "positions"; "shape", positions and the cell at constant
            volume, for crystals that are not cubic. Default: "positions".
        supercell: "auto" (periodic images of an atom at least ``min_length`` apart), three multiples such as
            "2 2 2", or nine numbers of a matrix, row by row. Default: "auto".
        min_length: shortest distance between an atom and its image in an automatic supercell, Å. Default:
            20.0.
        displacement: length by which atoms are displaced, Å. Default: 0.01.
        mesh: q-points of the free energies, "auto" or three numbers such as "20 20 20"; the same at all
            volumes, made odd so that Γ is one of them. Default: "auto".
        tmax: highest temperature, K. Default: 1000.0.
        tstep: step between temperatures, K. Default: 10.0.
        fmax: largest force left by the relaxations, eV/Å. Default: 0.0001.
        relax_steps: most steps of each relaxation. Default: 500.
        allow_unconverged: go on where a relaxation did not reach the force limit. Default: False.
        symprec: deviations from symmetry below this are ignored, Å. Default: 1e-05.
        imaginary_tolerance_thz: volumes with frequencies below minus this are left out, THz. Default: 0.1.
        born: file with dielectric tensor and Born charges in phonopy's BORN format, taken at all volumes;
            they split LO from TO at Γ. Default: None.
        resume: take what the folder holds already of an earlier run with the same structure and model, and
            compute the rest; other settings may change. Default: False.
        out: folder for phonopy's files and the figures; nothing is written without one. Default: None.
        prefix: PREFIX- before every file name. Default: "".
        plot: draw figures of the results against temperature, the free energies and the modes into the
            folder. Default: True.
        quiet: no progress bar. Default: True.

    Returns:
        QhaResult; look at ``trusted_to_k``, nothing is raised when the volume leaves those computed.

    Raises:
        BadStructureError: no crystal, atoms that feel no force.
        UsageError: no calculator, settings that cannot be meant, constraints, a folder into which another job
            writes.
        NotConvergedError: a relaxation that did not reach ``fmax``, unless ``allow_unconverged``; fewer than
            five volumes without imaginary modes.
        BadInputError: results that are not finite, a BORN file that is none of this crystal.
        Interrupted: after SIGINT or SIGTERM.
    """
    settings = QhaSettings(
        min_volume=min_volume,
        max_volume=max_volume,
        n_volumes=n_volumes,
        eos=eos,
        pressure_gpa=pressure_gpa,
        relax=relax,
        supercell=supercell if isinstance(supercell, str) else tuple(supercell),
        min_length=min_length,
        displacement=displacement,
        mesh=mesh if isinstance(mesh, str) else tuple(mesh),
        tmax=tmax,
        tstep=tstep,
        fmax=fmax,
        relax_steps=relax_steps,
        allow_unconverged=allow_unconverged,
        symprec=symprec,
        imaginary_tolerance_thz=imaginary_tolerance_thz,
        born=None if born is None else os.fspath(born),
    )
    glue.require_phonopy()
    work = right_handed(working_copy(atoms, calc))
    check_crystal(work, WHAT)
    check_lattice(work)
    with claimed(out, (with_prefix(name, prefix) for name in OUTPUTS)):
        warn_if_not_smooth(work)
        kept = kept_in(out, prefix, work, what="qha", resume=resume)
        displaced_at([work], settings)  # what cannot be meant is told before anything is computed
        result = _computed(work, settings, quiet, kept)
        if out is not None:
            result.write(out, prefix=prefix, plot=plot)
    return result


def displaced_at(structures: Sequence[Atoms], settings: QhaSettings) -> list[Any]:
    """phonopy's objects with the displaced supercells of each volume; UsageError for supercells that cannot
    be meant."""
    first, of_phonons = structures[0], settings.of_phonons()
    matrix = supercell_matrix(of_phonons, first.cell.array, first.pbc, EVERYWHERE)
    found = [glue.displaced(atoms, matrix, of_phonons, EVERYWHERE) for atoms in structures]
    if settings.born is not None:
        for phonon in found:
            set_born(phonon, settings.born, EVERYWHERE)
    return found


def _relaxed(
    structures: Sequence[Atoms], settings: QhaSettings, quiet: bool, kept: Kept | None
) -> list[Atoms]:
    """Each structure relaxed within its space group, with its calculator."""
    found = []
    cell: CellMode = "shape" if settings.relax == "shape" else "none"
    for scale, atoms in zip(settings.scales, structures, strict=True):
        start, reached, converged = relaxed_start(atoms, settings.of_phonons(), quiet, kept, cell)
        if not (converged or settings.allow_unconverged):
            raise NotConvergedError(
                f"The structure is not relaxed: the force is {reached:.2g} eV/Å, phonons need "
                f"{settings.fmax:g}.",
                where=f"volume {scale:.4f}",
                hint="relax it further (--dtype float64, --relax-steps), or go on with --allow-unconverged",
            )
        found.append(start)
    return found


def _computed(work: Atoms, settings: QhaSettings, quiet: bool, kept: Kept | None) -> QhaResult:
    """Scale, relax and displace."""
    structures = _relaxed(at_volumes(work, settings.scales), settings, quiet, kept)
    frames = evaluated(structures, ["energy", "forces"], what="volume", quiet=quiet, kept=kept)
    phonons = _with_force_constants(structures, settings, quiet, kept)
    return assembled(frames, phonons, settings)


def assembled(frames: Sequence[Atoms], phonons: Sequence[Any], settings: QhaSettings) -> QhaResult:
    """What follows from structures with energies and phonopy's objects with force constants, one for each
    volume, the smallest first; warns of imaginary modes and of volumes that end too early.

    Raises:
        NotConvergedError: fewer than five volumes without imaginary modes, or free energies on no curve.
    """
    mesh = _odd_mesh(phonons[len(phonons) // 2], settings)
    lowest = np.array([_lowest(phonon, mesh) for phonon in phonons])
    kept = np.flatnonzero(lowest > -settings.imaginary_tolerance_thz)
    volumes = np.array([phonon.primitive.volume for phonon in phonons])
    share = len(phonons[0].primitive) / len(frames[0])
    energies = share * np.array([frame.get_potential_energy() for frame in frames])
    _check_kept(kept, volumes, lowest)
    found = _run_qha([phonons[int(k)] for k in kept], energies[kept], mesh, settings)
    wanted = volumes[np.abs(settings.scales - 1).argmin()]  # of the structure that was given, or next to it
    middle = int(np.clip(np.abs(volumes[kept] - wanted).argmin(), 1, len(kept) - 2))
    around = [phonons[int(k)] for k in kept[middle - 1 : middle + 2]]
    lines = glue.band_lines(around[1], settings.of_phonons(), EVERYWHERE)
    gruneisen = run_gruneisen(around, mesh, lines)
    result = QhaResult(
        frames=tuple(frames),
        volumes_a3=volumes,
        energies_ev=energies,
        lowest_thz=lowest,
        left_out_a3=tuple(float(v) for v in np.delete(volumes, kept)),
        temperatures=np.array(found.temperatures),
        volume=np.array(found.equilibrium_volumes),
        thermal_expansion=np.array(found.thermal_expansion),
        bulk_modulus_gpa=np.array(found.bulk_moduli) * GPA_PER_EV_A3,
        heat_capacity=np.array(found.heat_capacity_P.heat_capacities) / J_MOL,
        entropy=np.array(found.entropy_temperature) / J_MOL,
        gibbs_ev=np.array(found.gibbs_free_energies),
        gruneisen=np.array(found.gruneisen_parameters),
        lattice_a=None if found.lattice is None else np.array(found.lattice.lattice_parameters),
        modes=mode_gruneisen(gruneisen),
        per=glue.per_primitive(phonons[0]),
        non_analytical=non_analytical(phonons[0], EVERYWHERE, settings.born),
        phonopy=found,
        phonopy_gruneisen=gruneisen,
        settings=settings,
    )
    _warn_of_range(result)
    return result


def _with_force_constants(
    structures: Sequence[Atoms], settings: QhaSettings, quiet: bool, kept: Kept | None
) -> list[Any]:
    """phonopy's objects of all volumes; their displaced supercells go to the calculator together."""
    phonons = displaced_at(structures, settings)
    cells = [glue.ase_supercells(*pair) for pair in zip(phonons, structures, strict=True)]
    forces = forces_of([cell for some in cells for cell in some], quiet, kept)
    ends = np.cumsum([len(some) for some in cells])[:-1]
    for phonon, some in zip(phonons, np.split(forces, ends), strict=True):
        glue.set_force_constants(phonon, some, settings.of_phonons())
    return phonons


def _odd_mesh(phonon: Any, settings: QhaSettings) -> list[int]:
    """Numbers of points for all volumes: a mesh that changes with the volume would be a step in the free
    energy."""
    wanted = settings.of_phonons()
    numbers = glue.mesh_numbers(phonon) if wanted.mesh == "auto" else wanted.mesh
    return [int(n) + 1 - int(n) % 2 for n in numbers]


def _lowest(phonon: Any, mesh: list[int]) -> float:
    """Lowest frequency on the mesh, THz."""
    with glue.quiet_meshes():
        return float(phonon.run_mesh(mesh, is_gamma_center=True).frequencies.min())


def _check_kept(kept: np.ndarray, volumes: np.ndarray, lowest: np.ndarray) -> None:
    """Say which volumes have imaginary modes; NotConvergedError where too few are left."""
    bad = np.setdiff1d(np.arange(len(volumes)), kept)
    if len(bad) == 0:
        return
    named = ", ".join(f"{volumes[k]:.2f} Å³ ({lowest[k]:.2f} THz)" for k in bad)
    if len(kept) < FEWEST_VOLUMES:
        raise NotConvergedError(
            f"Only {len(kept)} volumes have no imaginary modes, five are needed.",
            where=named,
            hint="change --min-volume, --max-volume or the supercell; phonons of one volume name the modes",
        )
    text = f"volumes with imaginary modes are left out: {named}"
    warnings.warn(text, JMPWarning, stacklevel=5)


def _run_qha(phonons: list[Any], energies: np.ndarray, mesh: list[int], settings: QhaSettings) -> Any:
    from phonopy import run_qha

    with glue.quiet_meshes():
        warnings.filterwarnings("ignore", message="Lattice parameter fitting was skipped")
        warnings.filterwarnings("ignore", message="Lattice parameters are extrapolated")
        warnings.filterwarnings("ignore", message="EOS fitting failed")  # seen in where the results end
        try:
            return run_qha(
                phonons,
                settings.temperatures,
                internal_energies=energies,
                mesh=mesh,
                pressure=settings.pressure_gpa or None,
                eos=settings.eos,
                exclude_gamma_acoustic=True,
            )
        except (RuntimeError, ValueError, IndexError) as err:
            raise NotConvergedError(
                f"No {settings.eos} curve runs through the free energies: {err}.",
                hint="relax the cell first (jmp-calc relax --opt-cell full), or choose volumes nearer to it",
            ) from err


def _warn_of_range(result: QhaResult) -> None:
    """JMPWarning where the volume leaves those computed below the highest temperature."""
    end = result.trusted_to_k
    if end is None:
        low, high = result.volumes_used.min(), result.volumes_used.max()
        text = (
            f"the volume, {result.volume[0]:.2f} Å³ at 0 K, is not among those computed ({low:.2f} to "
            f"{high:.2f} Å³): everything is extrapolated; relax the cell at that pressure first"
        )
        warnings.warn(text, JMPWarning, stacklevel=4)
    elif end < result.temperatures[-1]:
        text = (
            f"above {end:g} K the volume is beyond those computed, and the results are extrapolated: choose "
            "a larger --max-volume or a smaller --tmax"
        )
        warnings.warn(text, JMPWarning, stacklevel=4)
