"""The only module that talks to phonopy (4.x): displacements in, bands, DOS, thermal properties and files
out."""

from __future__ import annotations

import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadStructureError, JMPError, UsageError
from .phonon_settings import AUTO_MESH_LENGTH_A, PhononSettings

if TYPE_CHECKING:
    from ase import Atoms

FILES = (
    "phonopy_disp.yaml",
    "phonopy_params.yaml",
    "band.yaml",
    "mesh.yaml",
    "total_dos.dat",
    "thermal_properties.yaml",
)
MOST_ATOMS = 20_000
"""In a supercell; phonopy's tables of force constants grow with the number of its atoms."""
_GREEK = {"GAMMA": "G", "$\\Gamma$": "G", "Γ": "G"}


def require_phonopy() -> None:
    """JMPError when phonopy is missing or of another generation than this module was written for."""
    try:
        version = metadata.version("phonopy")
    except metadata.PackageNotFoundError as err:
        raise JMPError("Phonopy is not installed.", hint="pip install 'phonopy>=4.10,<5'") from err
    if version.split(".")[0] != "4":
        fact = f"Version {version} of phonopy is not supported; jmp-calc works with phonopy 4."
        raise JMPError(fact, hint="pip install 'phonopy>=4.10,<5'")


def displaced(atoms: Atoms, matrix: np.ndarray, settings: PhononSettings) -> Any:
    """Phonopy object with its displacements generated; UsageError for a supercell that nobody can have
    meant."""
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    n_atoms = abs(float(np.linalg.det(matrix))) * len(atoms)
    if n_atoms > MOST_ATOMS:
        raise UsageError(
            f"The supercell would have {n_atoms:.3g} atoms, more than the {MOST_ATOMS} that phonons are "
            "computed for.",
            hint="give a smaller --supercell or --min-length",
        )
    if round(n_atoms) < 2:
        raise UsageError(
            "The supercell has one atom, which moves against nothing: it has no phonons.",
            hint='write --supercell "2 2 2" or more',
        )
    unitcell = PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(),
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
    )
    with warnings.catch_warnings():  # phonopy 4 tells users of phonopy 3 that "auto" finds the primitive cell
        warnings.filterwarnings("ignore", message="primitive_matrix defaulted to 'auto'")
        phonon = Phonopy(unitcell, supercell_matrix=matrix, primitive_matrix="auto", symprec=settings.symprec)
    if _reads_tags(atoms):
        _check_tags(phonon, atoms)
    phonon.generate_displacements(distance=settings.displacement)
    return phonon


def _reads_tags(atoms: Atoms) -> bool:
    """Whether tags change the energy (only a JMPCalculator with tags='atoms')."""
    return getattr(getattr(getattr(atoms.calc, "info", None), "policy", None), "tags", None) == "atoms"


def _check_tags(phonon: Any, atoms: Atoms) -> None:
    """UsageError where phonopy, which knows no tags, would take atoms with different tags for equivalent
    ones."""
    source, equivalent = _unit_atoms(phonon), phonon.symmetry.get_map_atoms()
    differing = np.flatnonzero(atoms.get_tags()[source] != atoms.get_tags()[source[equivalent]])
    if len(differing):
        first = int(differing[0])
        raise UsageError(
            f"Atoms {source[equivalent[first]]} and {source[first]} are equivalent by symmetry but have "
            "different tags, which "
            "this model reads.",
            hint="give them the same tag, or leave out tags='atoms'",
        )


def _unit_atoms(phonon: Any) -> np.ndarray:
    """For every atom of the supercell, its atom in the unit cell."""
    cell = phonon.supercell
    return np.array([cell.u2u_map[int(i)] for i in cell.s2u_map])


def ase_supercells(phonon: Any, atoms: Atoms) -> list[Atoms]:
    """The displaced supercells, in phonopy's atom order, with the tags and the calculator of ``atoms``."""
    from ase import Atoms as AseAtoms

    cells, tags = [], atoms.get_tags()[_unit_atoms(phonon)]
    for cell in phonon.supercells_with_displacements:
        copy = AseAtoms(
            cell.symbols, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=atoms.pbc, tags=tags
        )
        copy.calc = atoms.calc
        cells.append(copy)
    return cells


def solve(phonon: Any, forces: np.ndarray, settings: PhononSettings) -> str:
    """Force constants, bands, mesh, DOS and thermal properties; returns where the band path came from."""
    phonon.forces = forces
    phonon.produce_force_constants()
    if settings.fc_symmetry:
        phonon.symmetrize_force_constants()
    source = _bands(phonon, settings)
    mesh = AUTO_MESH_LENGTH_A if settings.mesh == "auto" else list(settings.mesh)
    with warnings.catch_warnings():  # a mesh that breaks the symmetry costs time, its results are right
        warnings.filterwarnings(
            "ignore", message=".*(point-group|point group|grid).*", category=RuntimeWarning
        )
        phonon.run_mesh(mesh, is_gamma_center=True)  # an even mesh without Γ would miss the acoustic limit
    if not np.any(phonon.mesh.frequencies):
        raise BadStructureError(
            "A displaced atom feels no force, so all frequencies are zero.",
            hint="the atoms are farther apart than the potential reaches: check cell and positions",
        )
    phonon.run_total_dos()
    phonon.run_thermal_properties(
        t_min=settings.tmin, t_max=settings.tmax, t_step=settings.tstep, exclude_gamma_acoustic=True
    )
    return source


def write_files(phonon: Any, paths: dict[str, Path]) -> None:
    """phonopy's own files by phonopy's own writers."""
    phonon.save(str(paths["phonopy_disp.yaml"]), settings={"force_sets": False, "displacements": True})
    phonon.save(str(paths["phonopy_params.yaml"]))
    phonon.write_yaml_band_structure(filename=str(paths["band.yaml"]))
    phonon.mesh.write_yaml(filename=str(paths["mesh.yaml"]))
    phonon.write_total_dos(filename=str(paths["total_dos.dat"]))
    phonon.write_yaml_thermal_properties(filename=str(paths["thermal_properties.yaml"]))


def _bands(phonon: Any, settings: PhononSettings) -> str:
    """Run the bands along the path that was asked for; returns "seekpath", "ase" or "given"."""
    from phonopy.phonon.band_structure import get_band_qpoints, get_band_qpoints_by_seekpath

    points, pieces, source = _special_points(phonon.primitive)
    if settings.bands == "auto" and source == "seekpath":
        paths, labels, joined = get_band_qpoints_by_seekpath(
            phonon.primitive, settings.band_points, is_const_interval=True
        )
    else:
        if settings.bands != "auto":
            pieces, source = [piece.split() for piece in settings.bands.split(",")], "given"
        corners = [[_point(label, points) for label in piece] for piece in pieces]
        if any(len(piece) < 2 for piece in pieces):
            raise UsageError(
                f"A band path needs two points or more: '{settings.bands}'.", hint='write "G X, K G"'
            )
        paths = get_band_qpoints(corners, npoints=settings.band_points)
        labels = [_tex(label) for piece in pieces for label in piece]
        joined = [k < len(piece) - 2 for piece in pieces for k in range(len(piece) - 1)]
    phonon.run_band_structure(paths, labels=labels, path_connections=joined)
    return source


def _special_points(primitive: Any) -> tuple[dict[str, np.ndarray], list[list[str]], str]:
    """Coordinates by label, path pieces, and who gave them: seekpath, or ASE when seekpath is absent."""
    try:
        import seekpath
    except ImportError:
        return _special_points_ase(primitive)
    found = seekpath.get_path(primitive.totuple())
    points = {_GREEK.get(name, name): np.array(xyz) for name, xyz in found["point_coords"].items()}
    return points, [], "seekpath"


def _special_points_ase(primitive: Any) -> tuple[dict[str, np.ndarray], list[list[str]], str]:
    from ase.cell import Cell
    from ase.dft.kpoints import parse_path_string

    path = Cell(primitive.cell).bandpath(npoints=0)
    return dict(path.special_points), parse_path_string(path.path), "ase"


def _point(label: str, points: dict[str, np.ndarray]) -> np.ndarray:
    name = _GREEK.get(label, label)
    if name not in points:
        raise UsageError(
            f"This lattice has no point '{label}'.", hint=f"its points: {' '.join(sorted(points))}"
        )
    return points[name]


def _tex(label: str) -> str:
    name = _GREEK.get(label, label)
    return "$\\Gamma$" if name == "G" else f"$\\mathrm{{{name}}}$"
