"""Phonons by finite displacements with any ASE calculator and phonopy.

result = phonons(atoms, supercell="2 2 2")
result.imaginary, result.lowest_thz, result.write("si_phonons")
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import JMPWarning, NotConvergedError
from ...io.outdir import claimed, with_prefix
from ..batches import displaced_forces
from ..common import snapshot, warn_if_not_smooth, working_copy
from ..kept import Kept, digest, kept_in
from ..relax import relax as run_relax
from ..relax_settings import CellMode
from . import glue
from .band_path import BandPath
from .cell import boxed, check_lattice, repeating, residual_stress, warn_of_strain
from .follow import follow
from .hessian_check import check_hessian as hessian_check
from .hessian_check import require_hessian
from .motion import thermal_motion
from .nac import non_analytical, set_born
from .result import OUTPUTS, ImaginaryMode, PhononResult
from .settings import FrequencyUnit, PhononSettings, supercell_matrix
from .velocities import group_velocities as velocities_of

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

MOST_NAMED = 10
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def phonons(
    atoms: Atoms,
    *,
    calc: Calculator | None = None,
    supercell: str | Sequence[int] = PhononSettings.supercell,
    min_length: float = PhononSettings.min_length,
    displacement: float = PhononSettings.displacement,
    random_displacements: int | str = PhononSettings.random_displacements,
    seed: int = PhononSettings.seed,
    mesh: str | Sequence[int] = PhononSettings.mesh,
    bands: str = PhononSettings.bands,
    band_points: int = PhononSettings.band_points,
    tmin: float = PhononSettings.tmin,
    tmax: float = PhononSettings.tmax,
    tstep: float = PhononSettings.tstep,
    relax: bool = PhononSettings.relax,
    fmax: float = PhononSettings.fmax,
    relax_steps: int = PhononSettings.relax_steps,
    allow_unconverged: bool = PhononSettings.allow_unconverged,
    fc_symmetry: bool = PhononSettings.fc_symmetry,
    symprec: float = PhononSettings.symprec,
    imaginary_tolerance_thz: float = PhononSettings.imaginary_tolerance_thz,
    born: str | os.PathLike[str] | None = PhononSettings.born,
    pdos: bool = PhononSettings.pdos,
    thermal_displacements: bool = PhononSettings.thermal_displacements,
    group_velocities: bool = PhononSettings.group_velocities,
    eigenvectors: bool = PhononSettings.eigenvectors,
    follow_imaginary: bool = PhononSettings.follow_imaginary,
    check_hessian: bool = PhononSettings.check_hessian,
    frequency_unit: FrequencyUnit = PhononSettings.frequency_unit,
    resume: bool = False,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    plot: bool = True,
    quiet: bool = True,
) -> PhononResult:
    """Phonons of a copy of ``atoms``: positions are relaxed first, the cell is not.

    Args:
        atoms: crystal, layer or wire, with its cell relaxed already; pbc says where it repeats.
        calc: calculator to use; that of ``atoms`` if none is given. Default: None.
        supercell: "auto" (periodic images of an atom at least ``min_length`` apart), three multiples such as
            "2 2 2", or nine numbers of a matrix, row by row. Default: "auto".
        min_length: shortest distance between an atom and its image in an automatic supercell, Å. Default:
            20.0.
        displacement: length by which atoms are displaced, Å. Default: 0.01.
        random_displacements: supercells in which all atoms are displaced at random, "auto" or a number, with
            force constants fitted by symfc; 0 displaces one atom at a time. Default: 0.
        seed: seed of the random displacements. Default: 0.
        mesh: q-points of the density of states and of the thermal properties, "auto" or three numbers such as
            "20 20 20"; Γ is always one of them. Default: "auto".
        bands: path of the bands, "auto" or labels of q-points such as "G X, K G L", where a comma starts a
            new piece. Default: "auto".
        band_points: q-points on the longest piece of the path. Default: 51.
        tmin: lowest temperature of the thermal properties, K. Default: 0.0.
        tmax: highest temperature, K. Default: 1000.0.
        tstep: step between temperatures, K. Default: 10.0.
        relax: relax the positions first. Default: True.
        fmax: largest force allowed in the structure before atoms are displaced, eV/Å. Default: 0.0001.
        relax_steps: most steps of the relaxation. Default: 500.
        allow_unconverged: go on when the force limit was not reached. Default: False.
        fc_symmetry: symmetrise the force constants, so that translations cost nothing. Default: True.
        symprec: deviations from symmetry below this are ignored, Å. Default: 1e-05.
        imaginary_tolerance_thz: frequencies below minus this are named as imaginary modes, THz. Default: 0.1.
        born: file with dielectric tensor and Born charges in phonopy's BORN format; they split LO from TO at
            Γ. Default: None.
        pdos: density of states of every atom too. Default: False.
        thermal_displacements: mean square displacements and B-factors at the temperatures too. Default:
            False.
        group_velocities: velocities along the band path too, km/s. Default: False.
        eigenvectors: write eigenvectors into band.yaml. Default: False.
        follow_imaginary: displace the atoms along the worst imaginary mode that fits the supercell, and
            relax, to see where it leads. Default: False.
        check_hessian: compute the force constants by automatic differentiation too, and say by how much the
            frequencies differ. Default: False.
        frequency_unit: unit of the axes of the figures, "THz", "cm-1" or "meV"; files stay in THz. Default:
            "THz".
        resume: take what the folder holds already of an earlier run with the same structure and model, and
            compute the rest; other settings may change. Default: False.
        out: folder for phonopy's files and the figures; nothing is written without one. Default: None.
        prefix: PREFIX- before every file name. Default: "".
        plot: draw figures of bands, density of states and thermal properties into the folder. Default: True.
        quiet: no progress bar. Default: True.

    Returns:
        PhononResult. Without ``born``, polar crystals show no LO-TO splitting at Γ.

    Raises:
        BadStructureError: no lattice, atoms that feel no force.
        UsageError: no calculator, settings that cannot be meant, constraints, a calculator without Hessian
            where it is asked for, a folder into which another job writes or that holds another run to be
            resumed.
        NotConvergedError: forces above ``fmax`` before the displacements, unless ``allow_unconverged``.
        BadInputError: forces that are not finite, a BORN file that is none of this crystal.
        Interrupted: after SIGINT or SIGTERM.
        JMPError: phonopy is missing or of another generation.
    """
    settings = PhononSettings(
        supercell=supercell if isinstance(supercell, str) else tuple(supercell),
        min_length=min_length,
        displacement=displacement,
        random_displacements=random_displacements,
        seed=seed,
        mesh=mesh if isinstance(mesh, str) else tuple(mesh),
        bands=bands,
        band_points=band_points,
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
        pdos=pdos,
        thermal_displacements=thermal_displacements,
        group_velocities=group_velocities,
        eigenvectors=eigenvectors,
        follow_imaginary=follow_imaginary,
        check_hessian=check_hessian,
        frequency_unit=frequency_unit,
    )
    glue.require_phonopy()
    work = working_copy(atoms, calc)
    check_lattice(work)
    if settings.check_hessian:
        require_hessian(work)
    with claimed(out, (with_prefix(name, prefix) for name in OUTPUTS)):
        warn_if_not_smooth(work)
        kept = kept_in(out, prefix, work, what="phonons", resume=resume)
        box = boxed(work)  # what is asked is asked of it: not all calculators can do with less than a cell
        displacements(box, settings)  # what cannot be meant is told before anything is computed
        start, reached = start_structure(box, settings, quiet, kept)
        result = _computed(start, put_back(start, box, work), reached, settings, quiet, kept)
        if out is not None:
            result.write(out, prefix=prefix, plot=plot)
    return result


def displacements(atoms: Atoms, settings: PhononSettings) -> tuple[Any, Atoms, np.ndarray]:
    """What would be computed for a structure.

    Returns:
        phonopy's object with the displaced supercells, the cell it got, and the directions (3,) in which
        waves run.

    Raises:
        BadInputError, UsageError: as ``phonons``.
    """
    check_lattice(atoms)
    box, periodic = boxed(atoms), repeating(atoms)
    matrix = supercell_matrix(settings, box.cell.array, box.pbc, periodic)
    phonon = glue.displaced(box, matrix, settings, periodic)
    if settings.born is not None:
        set_born(phonon, settings.born, periodic)
    if settings.bands != "auto":
        glue.path_of(phonon, settings, periodic)  # a point that the lattice has not, before all the forces
    return phonon, box, periodic


def start_structure(
    atoms: Atoms, settings: PhononSettings, quiet: bool, kept: Kept | None = None
) -> tuple[Atoms, float]:
    """Relaxed positions (or those given, checked) and their largest force, eV/Å.

    Raises:
        NotConvergedError: forces above the limit, unless that is allowed.
    """
    if settings.relax:
        start, reached, _ = relaxed_start(atoms, settings, quiet, kept)
    else:
        reached, start = float(np.linalg.norm(atoms.get_forces(), axis=1).max()), atoms
    if not reached <= settings.fmax and not settings.allow_unconverged:
        raise NotConvergedError(
            f"The structure is not relaxed: the force is {reached:.2g} eV/Å, phonons need {settings.fmax:g}.",
            where="pre-relaxation" if settings.relax else "start structure (--no-relax)",
            hint="relax it further (--dtype float64), or go on with --allow-unconverged",
        )
    return start, reached


def relaxed_start(
    atoms: Atoms, settings: PhononSettings, quiet: bool, kept: Kept | None, cell: CellMode = "none"
) -> tuple[Atoms, float, bool]:
    """A copy relaxed within its space group, with its calculator; the largest force that is left, eV/Å;
    whether the relaxation (of ``cell`` too) reached its limits."""
    fix = bool(atoms.pbc.all()) and glue.told_apart(atoms) == atoms.get_chemical_symbols()

    def relaxation() -> dict[str, Any]:
        result = run_relax(
            atoms,
            fmax=settings.fmax,
            steps=settings.relax_steps,
            cell=cell,
            fix_symmetry=fix,
            symprec=10 * settings.symprec,
            quiet=quiet,
        )
        reached = {"fmax": result.fmax, "converged": result.converged}
        return {"positions": result.atoms.positions, "cell": result.atoms.cell.array, **reached}

    words = f"relaxed {cell} {fix} {settings.fmax} {settings.relax_steps} {settings.symprec} {digest(atoms)}"
    found = relaxation() if kept is None else kept.once(words, relaxation)
    start = atoms.copy()
    start.positions[:], start.cell[:] = found["positions"], found["cell"]
    start.calc = atoms.calc
    return start, float(found["fmax"]), bool(found["converged"])


def put_back(start: Atoms, box: Atoms, given: Atoms) -> Atoms:
    """The relaxed ``start`` with its results, in the cell and at the place where the structure was given."""
    frame = snapshot(start)
    if not given.pbc.all() or given.cell.handedness < 0:
        frame.positions += given.positions - box.positions
        frame.set_cell(given.cell)
        frame.calc.atoms = frame.copy()
    return frame


def forces_of(cells: list[Atoms], quiet: bool, kept: Kept | None = None) -> np.ndarray:
    """Raw forces of every displaced supercell, shape (n, n_atoms, 3), eV/Å.

    Raises:
        BadInputError: forces that are not finite. Interrupted: after SIGINT or SIGTERM.
    """
    return displaced_forces(cells, bar="phonons", what="displaced supercell", quiet=quiet, kept=kept)


def _computed(
    start: Atoms, unitcell: Atoms, fmax: float, settings: PhononSettings, quiet: bool, kept: Kept | None
) -> PhononResult:
    """Displace, ask for the forces, solve, and put the result together; warns of strain and of imaginary
    modes."""
    phonon, box, periodic = displacements(start, settings)
    stress = residual_stress(box, periodic)
    warn_of_strain(stress)
    forces = forces_of(glue.ase_supercells(phonon, box), quiet, kept)
    path = glue.solve(phonon, forces, settings, box, periodic)
    bands, mesh, dos = phonon.band_structure, phonon.mesh, phonon.total_dos
    qpoints, frequencies = np.concatenate(bands.qpoints), np.concatenate(bands.frequencies)
    share = _excluded_share(mesh, settings.imaginary_tolerance_thz)
    thermal = ("temperatures", "free_energy", "entropy", "heat_capacity")
    return PhononResult(
        atoms=unitcell,
        phonopy=phonon,
        frequencies_thz=frequencies,
        qpoints=qpoints,
        band_path=path.source,
        periodic=tuple(bool(along) for along in periodic),  # type: ignore[arg-type]
        lowest_thz=float(min(frequencies.min(), mesh.frequencies.min())),
        imaginary=_imaginary(phonon, path, settings.imaginary_tolerance_thz),
        excluded_share=share,
        thermal={name: np.asarray(getattr(phonon.thermal_properties, name)) for name in thermal},
        dos=(np.asarray(dos.frequency_points), np.asarray(dos.dos)),
        projected_dos=phonon.projected_dos and np.asarray(phonon.projected_dos.projected_dos),
        thermal_motion=thermal_motion(phonon),
        group_velocities_km_s=velocities_of(phonon),
        hessian=hessian_check(phonon, path, box, settings) if settings.check_hessian else None,
        followed=follow(phonon, box, periodic, settings) if settings.follow_imaginary else None,
        non_analytical=non_analytical(phonon, periodic, settings.born),
        missed_share=glue.missed_share(phonon) if settings.random_displacements else None,
        n_displacements=len(phonon.supercells_with_displacements),
        n_supercell_atoms=len(phonon.supercell),
        space_group=str(phonon.symmetry.get_international_table()),
        fmax=fmax,
        stress_gpa=None if stress is None else tuple(float(stress[i, j]) for i, j in VOIGT),
        settings=settings,
    )


def _excluded_share(mesh: Any, tolerance: float) -> float:
    """Share of imaginary modes on the mesh; a warning if there are any."""
    weights = np.asarray(mesh.weights)[:, None]
    bad = mesh.frequencies < -tolerance
    share = float((weights * bad).sum() / (weights.sum() * bad.shape[1]))
    if share > 0:
        text = f"{100 * share:.2g} % of the modes are imaginary and excluded from the thermal properties"
        warnings.warn(text, JMPWarning, stacklevel=4)
    return share


def _imaginary(phonon: Any, path: BandPath, tolerance: float) -> tuple[ImaginaryMode, ...]:
    """Modes below -tolerance on the path and on the mesh, the worst first."""
    bands, mesh = phonon.band_structure, phonon.mesh
    reciprocal = np.linalg.inv(phonon.primitive.cell).T
    found: dict[tuple[float, int], ImaginaryMode] = {}  # one for all equivalent q
    places = (*zip(bands.qpoints, bands.frequencies), (np.asarray(mesh.qpoints), mesh.frequencies))
    for points, values in places:
        for row, band in zip(*np.nonzero(values < -tolerance), strict=True):
            q = points[row] - np.rint(points[row])
            mode = ImaginaryMode(
                float(values[row, band]),
                tuple(round(float(x), 6) for x in points[row]),  # type: ignore[arg-type]
                path.name_of(points[row]),
                int(band),
                bool(np.linalg.norm(q @ reciprocal) < 0.05 and band < 3),
            )
            found.setdefault((round(mode.frequency_thz, 3), mode.band), mode)
    return tuple(sorted(found.values(), key=lambda mode: mode.frequency_thz)[:MOST_NAMED])
