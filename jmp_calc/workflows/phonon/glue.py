"""What talks to phonopy (4.x): displacements in, bands, DOS, thermal properties and files out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadStructureError, JMPError, UsageError
from ...io.atomic import replacing
from .band_path import BandPath, band_path
from .settings import AUTO_MESH_LENGTH_A, PhononSettings

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
WARM_K = 300.0
"""Temperature of the one value that summaries and the CIF show, K."""
MOST_ATOMS = 20_000
"""In a supercell; phonopy's tables of force constants grow with the number of its atoms."""


def nearest(kelvin: np.ndarray, wanted: float) -> int:
    """Index of the temperature next to the wanted one, K."""
    return int(np.argmin(np.abs(np.asarray(kelvin) - wanted)))


def require_phonopy() -> None:
    """JMPError when phonopy is missing or of another generation than this module was written for."""
    try:
        version = metadata.version("phonopy")
    except metadata.PackageNotFoundError as err:
        raise JMPError("Phonopy is not installed.", hint="pip install 'phonopy>=4.10,<5'") from err
    major, minor = (int(word) if word.isdigit() else 0 for word in [*version.split("."), "0"][:2])
    if not (4, 10) <= (major, minor) < (5, 0):
        raise JMPError(
            f"Version {version} of phonopy is not supported; jmp-calc works with phonopy 4, from 4.10 on.",
            hint="pip install 'phonopy>=4.10,<5'",
        )


def displaced(atoms: Atoms, matrix: np.ndarray, settings: PhononSettings, periodic: np.ndarray) -> Any:
    """Phonopy object of a boxed structure with its displacements generated.

    Args:
        atoms: as ``cell.boxed`` makes it.
        matrix: (3, 3) integers, the supercell.
        settings: displacement and symprec.
        periodic: (3,) bool, see ``cell.repeating``.

    Raises:
        UsageError: a supercell that nobody can have meant.
    """
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    check_size(matrix, len(atoms))
    symbols = told_apart(atoms)
    unitcell = PhonopyAtoms(
        symbols=symbols,
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
    )
    with warnings.catch_warnings():  # phonopy 4 tells users of phonopy 3 that "auto" finds the primitive cell
        warnings.filterwarnings("ignore", message="primitive_matrix defaulted to 'auto'")
        phonon = Phonopy(
            unitcell,
            supercell_matrix=matrix,
            primitive_matrix="auto" if periodic.all() else _primitive_matrix(unitcell, periodic, settings),
            symprec=settings.symprec,
            distinguish_symbol_index=True,
        )
    if settings.random_displacements:
        _displace_at_random(phonon, settings)
    else:
        phonon.generate_displacements(distance=settings.displacement)
    return phonon


def _displace_at_random(phonon: Any, settings: PhononSettings) -> None:
    """All atoms at once in random directions; UsageError for fewer supercells than symfc needs."""
    wanted, enough = settings.random_displacements, fewest_random(phonon)
    if isinstance(wanted, int) and wanted < enough:
        raise UsageError(
            f"{wanted} random displacements do not determine the force constants, {enough} may.",
            hint="write --random-displacements auto",
        )
    phonon.generate_displacements(
        distance=settings.displacement, number_of_snapshots=wanted, random_seed=settings.seed
    )


def fewest_random(phonon: Any) -> int:
    """Number of random displacements from which on force constants may be determined."""
    from phonopy.harmonic.displacement import estimate_number_of_snapshots

    return int(estimate_number_of_snapshots(phonon.supercell, phonon.symmetry, number_estimation_factor=1))


def check_size(matrix: np.ndarray, n_unit: int) -> None:
    """UsageError for a supercell of this many unit atoms that nobody can have meant."""
    n_atoms = abs(float(np.linalg.det(matrix))) * n_unit
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


def told_apart(atoms: Atoms) -> list[str]:
    """Symbols with a number for the second, third, ... kind of an element: atoms of other mass, or whatever
    else the energy may depend on, are not equivalent by symmetry."""
    columns = [atoms.numbers, atoms.get_masses(), atoms.get_initial_charges()]
    columns += list(atoms.get_initial_magnetic_moments().reshape(len(atoms), -1).T)
    columns += [atoms.get_tags()] if _reads_tags(atoms) else []
    kinds: dict[int, dict[tuple[float, ...], int]] = {}
    symbols = []
    for symbol, row in zip(atoms.get_chemical_symbols(), np.column_stack(columns).tolist(), strict=True):
        same = kinds.setdefault(int(row[0]), {})
        index = same.setdefault(tuple(row), len(same))
        symbols.append(f"{symbol}{index or ''}")
    return symbols


def _reads_tags(atoms: Atoms) -> bool:
    """Whether tags change the energy (only a JMPCalculator with tags='atoms')."""
    return getattr(getattr(getattr(atoms.calc, "info", None), "policy", None), "tags", None) == "atoms"


def _primitive_matrix(unitcell: Any, periodic: np.ndarray, settings: PhononSettings) -> np.ndarray:
    """Of a layer or wire: the shortest vectors in its directions, and the cell's open vectors as they are.

    phonopy's choice may mix or reorder all three, so that the path and the mesh would not be in the layer.
    """
    from phonopy.structure.cells import guess_primitive_matrix

    guess = guess_primitive_matrix(unitcell, symprec=settings.symprec, distinguish_symbol_index=True)
    steps = np.array(list(np.ndindex(5, 5, 5))) - 2
    inside = steps @ guess.T  # fractions of the cell vectors
    inside = inside[np.abs(inside[:, ~periodic]).max(axis=1) < 1e-6]
    inside = inside[np.argsort(np.linalg.norm(inside @ unitcell.cell, axis=1).round(6), kind="stable")]
    rows = np.eye(3)
    chosen: list[np.ndarray] = []
    for vector in inside:
        if len(chosen) < periodic.sum() and np.linalg.matrix_rank([*chosen, vector], tol=1e-6) > len(chosen):
            chosen.append(vector)
    rows[periodic] = chosen
    volume = np.linalg.det(rows)
    if abs(volume) > 1 - 1e-6:
        return np.eye(3)
    if volume < 0:
        rows[np.flatnonzero(periodic)[0]] *= -1
    return rows.T


def unit_atoms(supercell: Any) -> np.ndarray:
    """For every atom of phonopy's supercell, its atom in the unit cell."""
    return np.array([supercell.u2u_map[int(i)] for i in supercell.s2u_map])


def ase_supercells(phonon: Any, atoms: Atoms) -> list[Atoms]:
    """The displaced supercells, in phonopy's atom order, with all that ``atoms`` say of each atom, and their
    calculator."""
    return as_ase(phonon.supercells_with_displacements, phonon.supercell, atoms)


def as_ase(supercells: Sequence[Any], perfect: Any, atoms: Atoms) -> list[Atoms]:
    """phonopy's ``supercells``, displaced copies of the ``perfect`` one, as ``ase_supercells`` gives them."""
    cells, source = [], unit_atoms(perfect)
    for cell in supercells:
        copy = atoms[source]
        copy.set_cell(cell.cell)
        copy.set_scaled_positions(cell.scaled_positions)
        copy.calc = atoms.calc
        cells.append(copy)
    return cells


def solve(
    phonon: Any, forces: np.ndarray, settings: PhononSettings, atoms: Atoms, periodic: np.ndarray
) -> BandPath:
    """Force constants, bands, mesh, DOS and thermal properties; returns the path of the bands.

    Args:
        phonon: as ``displaced`` gives it.
        forces: of the displaced supercells, shape (n, n_atoms, 3), eV/Å.
        settings: what to compute.
        atoms: the boxed structure.
        periodic: (3,) bool, see ``cell.repeating``.

    Raises:
        BadStructureError: no atom feels the displacement of another.
        UsageError: a path that the lattice does not have.
    """
    set_force_constants(phonon, forces, settings)
    return analyse(phonon, settings, atoms, periodic)


def analyse(phonon: Any, settings: PhononSettings, atoms: Atoms, periodic: np.ndarray) -> BandPath:
    """As ``solve``, of a phonopy object with force constants.

    Raises:
        BadStructureError, UsageError: as ``solve``.
    """
    path = _run_bands(phonon, settings, periodic)
    numbers = chosen_mesh(phonon, settings, atoms, periodic)
    with quiet_meshes():
        if settings.pdos or settings.thermal_displacements:
            _run_per_atom(phonon, numbers, settings)
        if not settings.pdos:  # else that mesh stays: on another the densities of the atoms do not add up
            # an even mesh without Γ would miss the acoustic limit
            phonon.run_mesh(numbers, is_gamma_center=True)
    if not np.any(phonon.mesh.frequencies):
        raise BadStructureError(
            "A displaced atom feels no force, so all frequencies are zero.",
            hint="the atoms are farther apart than the potential reaches: check cell and positions",
        )
    phonon.run_total_dos()
    phonon.run_thermal_properties(
        t_min=settings.tmin, t_max=settings.tmax, t_step=settings.tstep, exclude_gamma_acoustic=True
    )
    return path


def set_force_constants(phonon: Any, forces: np.ndarray, settings: PhononSettings) -> None:
    """Force constants from the forces (n, n_atoms, 3) of the displaced supercells, eV/Å."""
    phonon.forces = forces
    phonon.produce_force_constants(fc_calculator="symfc" if settings.random_displacements else None)
    if settings.fc_symmetry:
        phonon.symmetrize_force_constants()


def missed_share(phonon: Any) -> float:
    """Share of the forces of the displaced supercells that the force constants do not give (root mean
    squares): noise, forces at rest, and what is not harmonic."""
    moved = [cell.positions - phonon.supercell.positions for cell in phonon.supercells_with_displacements]
    harmonic = -np.einsum("ijab,njb->nia", phonon.force_constants, np.array(moved))
    forces = np.asarray(phonon.forces)
    return float(np.linalg.norm(forces - harmonic) / max(float(np.linalg.norm(forces)), 1e-30))


@contextmanager
def quiet_meshes() -> Iterator[None]:
    """Without phonopy's warnings of meshes that break the symmetry: they cost time, their results are
    right."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*(point-group|point group|grid).*", category=RuntimeWarning
        )
        yield


def mesh_numbers(phonon: Any) -> list[int]:
    """Numbers of points of a crystal's automatic mesh, along its reciprocal vectors."""
    lengths = np.linalg.norm(np.linalg.inv(phonon.primitive.cell), axis=0)  # of the reciprocal vectors
    return [int(n) for n in np.maximum(np.rint(AUTO_MESH_LENGTH_A * lengths), 1)]


def per_primitive(phonon: Any) -> str:
    """What a mole is of: the primitive cell with its atoms, such as "Si2 (2 atoms)"."""
    from ase.symbols import Symbols

    numbers = phonon.primitive.numbers
    atoms = f"{len(numbers)} atom{'s' if len(numbers) != 1 else ''}"
    return f"primitive cells {Symbols(numbers).get_chemical_formula()} ({atoms})"


def _run_per_atom(phonon: Any, numbers: float | list[int], settings: PhononSettings) -> None:
    """Projected DOS and thermal displacements, which need the eigenvectors at every point of the mesh."""
    phonon.run_mesh(numbers, is_gamma_center=True, is_mesh_symmetry=False, with_eigenvectors=True)
    if settings.pdos:
        phonon.run_projected_dos()
    if settings.thermal_displacements:
        span = {"t_min": settings.tmin, "t_max": settings.tmax, "t_step": settings.tstep}
        phonon.run_thermal_displacements(**span, exclude_gamma_acoustic=True)
        phonon.run_thermal_displacement_matrices(**span, exclude_gamma_acoustic=True)


def chosen_mesh(
    phonon: Any, settings: PhononSettings, atoms: Atoms, periodic: np.ndarray
) -> float | list[int]:
    """The mesh asked for; one point along open directions, where nothing depends on q."""
    if settings.mesh != "auto":
        numbers = np.array(settings.mesh, dtype=int)
        return [int(n) for n in np.where(atoms.pbc, numbers, 1)]
    if periodic.all():
        return AUTO_MESH_LENGTH_A
    return [int(n) for n in np.where(periodic, mesh_numbers(phonon), 1)]


def path_of(phonon: Any, settings: PhononSettings, periodic: np.ndarray) -> BandPath:
    """The path of the bands; the errors of ``band_path``."""
    cell = phonon.primitive.totuple(distinguish_symbol_index=True)[:3]
    return band_path(cell, periodic, settings.bands, settings.symprec)


def band_lines(phonon: Any, settings: PhononSettings, periodic: np.ndarray) -> list[np.ndarray]:
    """q-points of the path, piece by piece, each (n, 3)."""
    from phonopy.phonon.band_structure import get_band_qpoints

    corners, reciprocal = path_of(phonon, settings, periodic).corners, np.linalg.inv(phonon.primitive.cell)
    return list(get_band_qpoints(corners, npoints=settings.band_points, rec_lattice=reciprocal))


def _run_bands(phonon: Any, settings: PhononSettings, periodic: np.ndarray) -> BandPath:
    path, lines = path_of(phonon, settings, periodic), band_lines(phonon, settings, periodic)
    phonon.run_band_structure(
        lines,
        with_eigenvectors=settings.eigenvectors,
        with_group_velocities=settings.group_velocities,
        labels=path.tex(),
        path_connections=path.joined(),
    )
    return path


def files(settings: PhononSettings) -> tuple[str, ...]:
    """Names of phonopy's files that these settings give."""
    asked = {
        "projected_dos.dat": settings.pdos,
        "thermal_displacements.yaml": settings.thermal_displacements,
        "thermal_displacement_matrices.yaml": settings.thermal_displacements,
        "thermal_displacements.cif": settings.thermal_displacements,
    }
    return (*FILES, *(name for name, wanted in asked.items() if wanted))


def write_files(phonon: Any, paths: dict[str, Path]) -> None:
    """phonopy's own files by phonopy's own writers: those of ``paths`` by name."""
    matrices, displacements = phonon.thermal_displacement_matrices, phonon.thermal_displacements
    only_displacements = {"force_sets": False, "displacements": True}
    writers: dict[str, Callable[[str], Any]] = {
        "phonopy_disp.yaml": lambda path: phonon.save(path, settings=only_displacements),
        "phonopy_params.yaml": phonon.save,
        "band.yaml": lambda path: phonon.write_yaml_band_structure(filename=path),
        "mesh.yaml": phonon.mesh.write_yaml,
        "total_dos.dat": phonon.write_total_dos,
        "thermal_properties.yaml": lambda path: phonon.write_yaml_thermal_properties(filename=path),
        "projected_dos.dat": phonon.write_projected_dos,
        "thermal_displacements.yaml": lambda path: displacements.write_yaml(path),
        "thermal_displacement_matrices.yaml": lambda path: matrices.write_yaml(path),
        "thermal_displacements.cif": lambda path: matrices.write_cif(
            phonon.primitive, nearest(matrices.temperatures, WARM_K), path
        ),
    }
    for name, path in paths.items():
        with replacing(path) as temporary:
            writers[name](str(temporary))
