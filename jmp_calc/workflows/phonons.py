"""Phonons by finite displacements with any ASE calculator and phonopy.

result = phonons(atoms, supercell="2 2 2")
result.imaginary, result.lowest_thz, result.write("si_phonons")
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInputError, BadStructureError, JMPWarning, NotConvergedError, UsageError
from ..io.progress import Progress
from ..machine.signals import Interrupted, deferred_signals
from . import phonopy_glue as glue
from .common import output_path, raw_forces, snapshot, warn_if_not_smooth, working_copy, write_frames
from .phonon_settings import PhononSettings, supercell_matrix
from .relax import relax as run_relax

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

PLOTS = ("band.svg", "band.png", "dos.svg", "dos.png", "thermal.svg", "thermal.png")
OUTPUTS = (*glue.FILES, "unitcell.extxyz", *PLOTS)
ATOMS_TOGETHER = 512
"""Displaced supercells that go to the calculator at once have about so many atoms."""
MOST_NAMED = 10


@dataclass(frozen=True)
class ImaginaryMode:
    """One unstable mode (negative frequency means imaginary)."""

    frequency_thz: float
    qpoint: tuple[float, float, float]
    """Fractions of the primitive reciprocal vectors."""
    label: str
    """Name of the high-symmetry point, or "" elsewhere."""
    band: int
    acoustic_near_gamma: bool
    """Near Γ and among the three lowest: noise of the sum rule or a small supercell, more often than an
    instability."""


@dataclass(frozen=True, eq=False)
class PhononResult:
    """Phonons of a crystal. Frequencies in THz, imaginary ones negative."""

    atoms: Atoms
    """The relaxed unit cell."""
    phonopy: Any
    """phonopy's own object, for everything that is not here."""
    frequencies_thz: np.ndarray
    """Along the band path, shape (n_qpoints, n_bands)."""
    qpoints: np.ndarray
    band_path: str
    """Who gave the path: seekpath, ase or given."""
    lowest_thz: float
    imaginary: tuple[ImaginaryMode, ...]
    """The worst ones, at most ten."""
    excluded_share: float
    """Share of the modes on the mesh left out of the thermal properties because they are imaginary."""
    thermal: dict[str, np.ndarray]
    """temperatures (K), free_energy (kJ/mol), entropy and heat_capacity (J/K/mol), per primitive cell."""
    dos: tuple[np.ndarray, np.ndarray]
    n_displacements: int
    n_supercell_atoms: int
    space_group: str
    fmax: float
    """Largest force in the unit cell, eV/Å."""
    settings: PhononSettings

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml."""
        warm = int(np.argmin(np.abs(self.thermal["temperatures"] - 300.0)))
        return {
            "lowest_frequency_thz": self.lowest_thz,
            "highest_frequency_thz": float(self.frequencies_thz.max()),
            "imaginary_modes": [mode.__dict__ for mode in self.imaginary],
            "share_excluded_from_thermal": self.excluded_share,
            "band_path": self.band_path,
            "space_group": self.space_group,
            "n_displacements": self.n_displacements,
            "n_supercell_atoms": self.n_supercell_atoms,
            "fmax_ev_per_a": self.fmax,
            "supercell_matrix": self.phonopy.supercell_matrix.tolist(),
            "mesh": np.asarray(self.phonopy.mesh.mesh_numbers).tolist(),
            "zero_point_energy_kj_per_mol": float(self.phonopy.thermal_properties.zero_point_energy),
            "thermal_near_300_k": {name: float(values[warm]) for name, values in self.thermal.items()},
            "protocol": {
                "fc_symmetry": self.settings.fc_symmetry,
                "displacement_a": self.settings.displacement,
            },
        }

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "", plot: bool = True) -> list[Path]:
        """Write phonopy's files, unitcell.extxyz and, if wanted, the figures; returns their paths."""
        paths = {name: output_path(folder, name, prefix) for name in glue.FILES}
        glue.write_files(self.phonopy, paths)
        unitcell = output_path(folder, "unitcell.extxyz", prefix)
        write_frames(unitcell, [self.atoms])
        written = [*paths.values(), unitcell]
        if plot:
            written += self.plot({name: output_path(folder, name, prefix) for name in PLOTS})
        return written

    def plot(self, paths: dict[str, Path]) -> list[Path]:
        """Draw bands, DOS and thermal properties; without matplotlib a warning and nothing else."""
        from ..io import plots

        if not plots.available():
            text = "no figures: matplotlib is not installed (pip install jmp-calc[plot])"
            warnings.warn(text, JMPWarning, stacklevel=2)
            return []
        bands = self.phonopy.band_structure
        plots.plot_bands(
            bands.distances,
            bands.frequencies,
            bands.labels,
            bands.path_connections,
            [paths["band.svg"], paths["band.png"]],
        )
        plots.plot_dos(*self.dos, [paths["dos.svg"], paths["dos.png"]])
        plots.plot_thermal(self.thermal, [paths["thermal.svg"], paths["thermal.png"]])
        return list(paths.values())

    def require_stable(self) -> None:
        """Raise NotConvergedError that names the worst imaginary mode."""
        if self.imaginary:
            raise NotConvergedError(
                f"Imaginary modes: {describe(self.imaginary[0])}.",
                where=f"{len(self.imaginary)} mode(s) in summary.yaml",
                hint="try a larger supercell, a tighter relaxation with the cell, or accept a real "
                "instability",
            )


def phonons(
    atoms: Atoms,
    *,
    calc: Calculator | None = None,
    supercell: str | Sequence[int] = PhononSettings.supercell,
    min_length: float = PhononSettings.min_length,
    displacement: float = PhononSettings.displacement,
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
        out: folder for phonopy's files and the figures; nothing is written without one. Default: None.
        prefix: PREFIX- before every file name. Default: "".
        plot: draw figures of bands, density of states and thermal properties into the folder. Default: True.
        quiet: no progress bar. Default: True.

    Returns:
        PhononResult. The non-analytical term is absent: polar crystals show no LO-TO splitting at Γ.

    Raises:
        BadStructureError: no lattice, a left-handed one, atoms that feel no force.
        UsageError: no calculator, settings that cannot be meant, constraints.
        NotConvergedError: forces above ``fmax`` before the displacements, unless ``allow_unconverged``.
        BadInputError: forces that are not finite.
        Interrupted: after SIGINT or SIGTERM.
        JMPError: phonopy is missing or of another generation.
    """
    settings = PhononSettings(
        supercell=supercell if isinstance(supercell, str) else tuple(supercell),
        min_length=min_length,
        displacement=displacement,
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
    )
    glue.require_phonopy()
    work = working_copy(atoms, calc)
    check_lattice(atoms)
    warn_if_not_smooth(work)
    start, reached = _start_structure(work, settings, quiet)
    matrix = supercell_matrix(settings, start.cell.array, start.pbc)
    phonon = glue.displaced(start, matrix, settings)
    forces = _forces(glue.ase_supercells(phonon, start), quiet)
    source = glue.solve(phonon, forces, settings)
    result = _collect(start, reached, phonon, source, settings)
    if out is not None:
        result.write(out, prefix=prefix, plot=plot)
    return result


def check_lattice(atoms: Atoms) -> None:
    """Refuse molecules and wires, left-handed cells, constraints; warn that a slab repeats through its
    vacuum."""
    if not atoms.pbc.any() or atoms.cell.rank < 3:
        raise BadStructureError(
            "This structure has no lattice, so it has no phonons.",
            hint="for a molecule: ase.vibrations.Vibrations(atoms) with the same calculator",
        )
    if atoms.cell.handedness < 0:
        raise BadStructureError(
            "The cell vectors are left-handed, and phonopy takes right-handed ones only.",
            hint="atoms.set_cell(-atoms.cell) reverses all three: the same crystal, positions and "
            "supercells stay",
        )
    if atoms.constraints:
        raise UsageError(
            "Phonons need free atoms, the structure has constraints.", hint="atoms.set_constraint()"
        )
    if not atoms.pbc.all():
        warnings.warn("phonons: the vacuum is treated as a repeating direction", JMPWarning, stacklevel=3)


def describe(mode: ImaginaryMode) -> str:
    """One mode in words."""
    place = f" ({mode.label})" if mode.label else ""
    q = ", ".join(f"{x:.4g}" for x in mode.qpoint)
    return f"{mode.frequency_thz:.3f} THz at q = ({q}){place}, band {mode.band}"


def _start_structure(atoms: Atoms, settings: PhononSettings, quiet: bool) -> tuple[Atoms, float]:
    """Relaxed positions (or those given, checked) and their largest force, eV/Å."""
    if settings.relax:
        result = run_relax(
            atoms,
            fmax=settings.fmax,
            steps=settings.relax_steps,
            fix_symmetry=bool(atoms.pbc.all()),
            symprec=10 * settings.symprec,
            quiet=quiet,
        )
        reached, start = result.fmax, atoms.copy()
        start.positions[:], start.cell[:] = result.atoms.positions, result.atoms.cell
        start.calc = atoms.calc
    else:
        reached, start = float(np.linalg.norm(atoms.get_forces(), axis=1).max()), atoms
    if reached > settings.fmax and not settings.allow_unconverged:
        raise NotConvergedError(
            f"The structure is not relaxed: the force is {reached:.2g} eV/Å, phonons need {settings.fmax:g}.",
            where="pre-relaxation" if settings.relax else "start structure (--no-relax)",
            hint="relax it further (--dtype float64), or go on with --allow-unconverged",
        )
    return start, reached


def _forces(cells: list[Atoms], quiet: bool) -> np.ndarray:
    """Raw forces of every displaced supercell, shape (n, n_atoms, 3), eV/Å."""
    found: list[np.ndarray] = []
    together = max(ATOMS_TOGETHER // max(len(cells[0]), 1), 1)
    with deferred_signals() as signals, Progress("phonons", len(cells), quiet=quiet) as progress:
        while len(found) < len(cells):
            for forces in raw_forces(cells[len(found) : len(found) + together]):
                if not np.isfinite(forces).all():
                    raise BadInputError(f"The forces of displaced supercell {len(found)} are not finite.")
                found.append(forces)
                progress.update(f"{len(cells[0])} atoms")
            if signals.received is not None:
                raise Interrupted(signals.received, f"{len(found)} of {len(cells)} displacements were done")
    return np.array(found)


def _collect(start: Atoms, fmax: float, phonon: Any, source: str, settings: PhononSettings) -> PhononResult:
    bands = phonon.band_structure
    qpoints, frequencies = np.concatenate(bands.qpoints), np.concatenate(bands.frequencies)
    mesh, thermal, dos = phonon.mesh, phonon.thermal_properties, phonon.total_dos
    imaginary = _imaginary(phonon, qpoints, frequencies, mesh, settings.imaginary_tolerance_thz)
    weights = np.asarray(mesh.weights)[:, None]
    bad = mesh.frequencies < -settings.imaginary_tolerance_thz
    share = float((weights * bad).sum() / (weights.sum() * bad.shape[1]))
    if share > 0:
        text = f"{100 * share:.2g} % of the modes are imaginary and excluded from the thermal properties"
        warnings.warn(text, JMPWarning, stacklevel=3)
    kept = ("temperatures", "free_energy", "entropy", "heat_capacity")
    return PhononResult(
        atoms=snapshot(start),
        phonopy=phonon,
        frequencies_thz=frequencies,
        qpoints=qpoints,
        band_path=source,
        lowest_thz=float(min(frequencies.min(), mesh.frequencies.min())),
        imaginary=imaginary,
        excluded_share=share,
        thermal={name: np.asarray(getattr(thermal, name)) for name in kept},
        dos=(np.asarray(dos.frequency_points), np.asarray(dos.dos)),
        n_displacements=len(phonon.supercells_with_displacements),
        n_supercell_atoms=len(phonon.supercell),
        space_group=str(phonon.symmetry.get_international_table()),
        fmax=fmax,
        settings=settings,
    )


def _imaginary(
    phonon: Any, qpoints: np.ndarray, frequencies: np.ndarray, mesh: Any, tolerance: float
) -> tuple[ImaginaryMode, ...]:
    """Modes below -tolerance on the path and on the mesh, the worst first."""
    labels = _corner_labels(phonon.band_structure)
    reciprocal = np.linalg.inv(phonon.primitive.cell).T
    found: dict[tuple[float, int], ImaginaryMode] = {}  # one for all equivalent q
    for points, values in ((qpoints, frequencies), (np.asarray(mesh.qpoints), mesh.frequencies)):
        for row, band in zip(*np.nonzero(values < -tolerance), strict=True):
            q = points[row] - np.rint(points[row])
            near = bool(np.linalg.norm(q @ reciprocal) < 0.05 and band < 3)
            label = next((name for place, name in labels if np.allclose(place, points[row], atol=1e-3)), "")
            mode = ImaginaryMode(
                float(values[row, band]),
                tuple(round(float(x), 6) for x in points[row]),  # type: ignore[arg-type]
                label,
                int(band),
                near,
            )
            found.setdefault((round(mode.frequency_thz, 3), mode.band), mode)
    return tuple(sorted(found.values(), key=lambda mode: mode.frequency_thz)[:MOST_NAMED])


def _corner_labels(bands: Any) -> list[tuple[np.ndarray, str]]:
    """End points of the band pieces with their names."""
    names = list(bands.labels or [])
    corners: list[tuple[np.ndarray, str]] = []
    fresh = True
    for path, joined in zip(bands.qpoints, bands.path_connections, strict=True):
        ends = [path[0], path[-1]] if fresh else [path[-1]]
        corners += [(end, _plain(names.pop(0))) for end in ends if names]
        fresh = not joined
    return corners


def _plain(label: str) -> str:
    return (
        label.replace("$", "")
        .replace("\\Gamma", "G")
        .replace("\\mathrm{", "")
        .replace("}", "")
        .replace("\\", "")
    )
