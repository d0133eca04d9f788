"""Layers, wires and mixed masses: phonons depend on neither place nor spelling of the structure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import phonopy
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.units import GPa, _amu, _e

from jmp_calc import phonons
from jmp_calc.errors import BadStructureError, JMPWarning, UsageError
from jmp_calc.workflows.phonon.band_path import band_path, plain_label
from jmp_calc.workflows.phonon.cell import boxed, repeating, residual_stress, right_handed
from jmp_calc.workflows.phonon.phonons import displacements
from jmp_calc.workflows.phonon.settings import PhononSettings, supercell_matrix
from tests.workflows.conftest import morse

QUICK = {"band_points": 5, "relax": False, "fmax": 1e-3, "tmax": 310.0}
MASSES = [60.0, 120.0]
SPRING = 2 * 0.34 * 3.8**2 / 2.6**2
"""eV/Å²: of a Morse bond at its equilibrium."""


def thz(spring_per_mass: float) -> float:
    """Frequency of a spring constant over a mass, eV/Å²/amu."""
    return float(np.sqrt(spring_per_mass * _e / 1e-20 / _amu) / (2 * np.pi) / 1e12)


@pytest.fixture(scope="module")
def slab() -> Atoms:
    """Two layers of Morse copper at their equilibrium."""
    from jmp_calc import relax

    atoms = fcc111("Cu", (1, 1, 2), a=3.302, vacuum=6)
    atoms.calc = morse()
    return relax(atoms, cell="full", fmax=1e-5, steps=200).atoms


@pytest.fixture(scope="module")
def highest(slab: Atoms) -> float:
    """Largest frequency of 2×2×1 cells from their whole Hessian: no phonopy, no folding."""
    big = slab.repeat((2, 2, 1))
    big.calc = morse()
    start, rows = big.positions.copy(), []
    for atom, axis in np.ndindex(start.shape):
        forces = []
        for step in (0.01, -0.01):
            big.positions[:] = start
            big.positions[atom, axis] += step
            forces.append(big.get_forces().ravel())
        rows.append((forces[1] - forces[0]) / 0.02)
    hessian = np.array(rows) / big.get_masses()[0]
    return thz(float(np.linalg.eigvalsh(0.5 * (hessian + hessian.T)).max()))


def astride(atoms: Atoms) -> None:
    atoms.positions[:, 2] -= atoms.positions[:, 2].mean()


def outside(atoms: Atoms) -> None:
    atoms.positions[:, 2] -= 40.0


def one_layer_wrapped(atoms: Atoms) -> None:
    atoms.positions[0] += atoms.cell[0] - atoms.cell[1]


def without_open_vector(atoms: Atoms) -> None:
    atoms.cell[2] = 0.0


def with_tilted_open_vector(atoms: Atoms) -> None:
    atoms.cell[2] += 2 * atoms.cell[0] + atoms.cell[1]


def left_handed(atoms: Atoms) -> None:
    atoms.cell[2] = -atoms.cell[2]


def test_a_reversed_cell_is_the_same_crystal() -> None:
    crystal = bulk("ZnS", "wurtzite", a=3.8, c=6.2)
    crystal.set_cell(crystal.cell[[1, 0, 2]])
    crystal.rattle(0.1, seed=1)
    turned = right_handed(crystal)
    assert turned.cell.handedness == 1
    for one, other in ((crystal, turned), (crystal * (2, 1, 1), turned * (2, 1, 1))):
        apart = [np.sort(atoms.get_all_distances(mic=True), axis=1) for atoms in (one, other)]
        assert apart[1] == pytest.approx(apart[0])


def open_along_the_first(atoms: Atoms) -> None:
    atoms.set_cell(atoms.cell[[2, 0, 1]])
    atoms.pbc = (False, True, True)


def turned(atoms: Atoms) -> None:
    atoms.rotate(40, (1, 2, 3), rotate_cell=True)


def periodic_over_vacuum(atoms: Atoms) -> None:
    atoms.set_cell(np.diag([1, 1, 2]) @ atoms.cell)
    atoms.pbc = True


@pytest.mark.parametrize(
    "place",
    [
        astride,
        outside,
        one_layer_wrapped,
        without_open_vector,
        with_tilted_open_vector,
        left_handed,
        open_along_the_first,
        turned,
        periodic_over_vacuum,
    ],
)
def test_phonons_of_a_slab_do_not_depend_on_its_place(
    slab: Atoms, highest: float, place: Callable[[Atoms], None]
) -> None:
    atoms = slab.copy()
    place(atoms)
    atoms.calc = morse()
    supercell, mesh = ("1 2 2", "1 2 2") if place is open_along_the_first else ("2 2 1", "2 2 1")
    result = phonons(atoms, supercell=supercell, mesh=mesh, bands="G M K G", **QUICK)
    assert result.phonopy.mesh.frequencies.max() == pytest.approx(highest, abs=2e-3)
    assert sum(result.periodic) == 2
    assert np.abs(result.qpoints[:, ~np.array(result.periodic)]).max() == 0
    assert result.lowest_thz > -0.05
    assert result.atoms.positions == pytest.approx(atoms.positions)  # where it was given
    assert result.atoms.cell.array == pytest.approx(atoms.cell.array)
    assert np.isfinite(result.atoms.get_potential_energy())


def test_a_path_in_the_plane_is_the_automatic_one(slab: Atoms) -> None:
    atoms = slab.copy()
    atoms.calc = morse()
    result = phonons(atoms, supercell="3 3 1", imaginary_tolerance_thz=1.0, **QUICK)
    assert result.phonopy.band_structure.labels == [
        "$\\Gamma$",
        "$\\mathrm{M}$",
        "$\\mathrm{K}$",
        "$\\Gamma$",
    ]
    assert result.phonopy.mesh.mesh_numbers[2] == 1
    assert result.band_path == "ase"


def test_a_layer_is_relaxed_where_it_stands(slab: Atoms) -> None:
    atoms = slab.copy()
    atoms.positions[0, 2] += 0.05
    without_open_vector(atoms)
    outside(atoms)
    atoms.calc = morse()
    result = phonons(atoms, supercell="2 2 1", mesh="2 2 1", bands="G M", **{**QUICK, "relax": True})
    assert result.fmax < 1e-3
    assert np.ptp(result.atoms.positions[:, 2]) == pytest.approx(np.ptp(slab.positions[:, 2]), abs=1e-3)
    assert result.atoms.positions[:, 2].mean() == pytest.approx(atoms.positions[:, 2].mean(), abs=1e-3)


def test_a_ribbon_in_a_layer_cell_is_a_wire(slab: Atoms) -> None:
    """Periodic in two directions with vacuum across one of them."""
    ribbon = slab.repeat((2, 1, 1))
    ribbon.cell[0] += 12.0 * ribbon.cell[0] / np.linalg.norm(ribbon.cell[0])
    ribbon.calc = morse()
    options = {**QUICK, "fmax": 10.0, "imaginary_tolerance_thz": 20.0}
    with pytest.warns(JMPWarning, match="strained"):
        result = phonons(ribbon, supercell="1 2 1", mesh="1 4 1", **options)
    assert result.periodic == (False, True, False)
    assert np.ptp(result.qpoints, axis=0).tolist() == [0.0, 0.5, 0.0]


@pytest.mark.parametrize("masses", [MASSES, MASSES[::-1]])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_wire_has_the_bands_of_the_diatomic_chain(masses: list[float], axis: int) -> None:
    """Frequencies at X are those of either mass between fixed neighbours, the optical one at G of both."""
    atoms = Atoms("Cu2", pbc=np.arange(3) == axis)
    atoms.positions[1, axis], atoms.positions[:, axis - 1] = 2.6, 7.0
    atoms.cell[axis, axis] = 5.2
    atoms.set_masses(masses)
    atoms.calc = morse(periodic=False)
    supercell = " ".join(str(4 if k == axis else 1) for k in range(3))
    result = phonons(atoms, supercell=supercell, mesh="10 10 10", **QUICK)
    gamma, x = result.frequencies_thz[0], result.frequencies_thz[-1]
    assert gamma.max() == pytest.approx(thz(2 * SPRING * sum(1 / m for m in masses)), rel=1e-3)
    assert sorted(x)[-2:] == pytest.approx([thz(2 * SPRING / m) for m in sorted(masses)[::-1]], rel=1e-3)
    assert result.phonopy.band_structure.labels == ["$\\Gamma$", "$\\mathrm{X}$"]
    assert np.count_nonzero(np.array(result.phonopy.mesh.mesh_numbers) == 10) == 1
    assert "Cu2 (2 atoms)" in result.thermal_per


def test_isotopes_keep_their_places_in_files(tmp_path: Path) -> None:
    cubic = bulk("Cu", "fcc", a=3.302, cubic=True)
    cubic.calc = morse()
    seen = []
    for masses in ([64.0, 256.0, 64.0, 64.0], [256.0, 64.0, 64.0, 64.0]):
        cubic.set_masses(masses)
        result = phonons(cubic, supercell="2 2 2", mesh="2 2 2", **QUICK, out=tmp_path, plot=False)
        seen.append(result.phonopy.mesh.frequencies.max())
        assert len(result.phonopy.primitive) == 4
        loaded = phonopy.load(tmp_path / "phonopy_params.yaml", log_level=0)
        at_q = [one.run_qpoints([[0.1, 0.2, 0.3]]).frequencies[0] for one in (loaded, result.phonopy)]
        assert at_q[0] == pytest.approx(at_q[1], abs=1e-3)
    assert seen[0] == pytest.approx(seen[1], abs=1e-4)


def test_a_strained_cell_is_named_with_its_stress() -> None:
    stretched = bulk("Cu", "fcc", a=3.33)
    stretched.calc = morse()
    with pytest.warns(JMPWarning, match=r"strained: 3.* GPa along its most stretched direction"):
        result = phonons(stretched, supercell="2 2 2", mesh="2 2 2", **QUICK)
    assert result.to_dict()["stress_gpa"] == pytest.approx(stretched.get_stress() / GPa, abs=1e-3)


@pytest.mark.parametrize("vacuum", [None, 12.0, 30.0])
def test_the_stress_of_a_layer_does_not_depend_on_its_vacuum(slab: Atoms, vacuum: float | None) -> None:
    atoms = slab.copy()
    atoms.set_cell(np.diag([1.01, 1.01, 1]) @ atoms.cell, scale_atoms=True)
    expected = slab.copy()
    expected.set_cell(atoms.cell, scale_atoms=True)
    expected.calc = morse()
    thickness = np.ptp(atoms.positions[:, 2]) + 3.4
    in_plane = expected.get_stress()[0] * expected.cell[2, 2] / thickness / GPa
    atoms.cell[2, 2] = vacuum or 0.0
    atoms.pbc = (True, True, bool(vacuum))
    atoms.calc = morse()
    stress = residual_stress(boxed(atoms), repeating(atoms))
    assert stress is not None
    assert stress[0, 0] == pytest.approx(in_plane, rel=1e-3)
    assert np.abs(stress[2]).max() < 1e-9


def test_without_stress_there_is_none_in_the_summary() -> None:
    class NoStress(type(morse())):
        implemented_properties = ("energy", "forces")

    atoms = bulk("Cu", "fcc", a=3.302)
    atoms.calc = NoStress(**morse().parameters)
    assert residual_stress(atoms, np.ones(3, dtype=bool)) is None


@pytest.mark.parametrize(
    "cell, labels",
    [
        ([[3, 0], [0, 3]], "G M X"),
        ([[3, 0], [0, 4]], "G S X Y"),
        ([[4, 0], [0, 3]], "G S X Y"),
        ([[3, 0], [-1.5, 2.598076]], "G K M"),
        ([[3, 0], [1.5, 2.598076]], "G K M"),
        ([[3, 0], [4.5, 2.598076]], "G K M"),
        ([[3, 1], [3, -1]], "A_1 G X Y"),
        ([[3, 0], [0.5, 4]], "C G H H_1 X Y"),
        ([[3, 0.0005], [0, 3.001]], "C G H H_1 X Y"),
    ],
)
@pytest.mark.parametrize("is_open", [0, 1, 2])
def test_plane_lattices_have_their_own_points(cell: list[list[float]], labels: str, is_open: int) -> None:
    periodic = np.arange(3) != is_open
    vectors = np.zeros((3, 3))
    vectors[np.ix_(periodic, periodic)] = cell
    vectors[is_open, is_open] = 20.0
    path = band_path((vectors, np.zeros((1, 3)), np.array([29])), periodic, "auto", 1e-5)
    assert {label for piece in path.labels for label in piece} == set(labels.split())
    assert np.abs(np.concatenate(path.corners)[:, is_open]).max() == 0
    with pytest.raises(UsageError, match="no point 'A'"):
        band_path((vectors, np.zeros((1, 3)), np.array([29])), periodic, "G A", 1e-5)


def test_points_of_a_primitive_cell_are_written_in_its_own_vectors() -> None:
    """X of fcc lies on the same sphere, however the primitive cell is chosen."""
    for change in (np.eye(3), [[1, 0, 0], [1, 1, 0], [0, 0, 1]], [[0, 1, 0], [0, 0, 1], [1, 0, 0]]):
        vectors = np.array(change) @ bulk("Cu", "fcc", a=3.6).cell.array
        path = band_path((vectors, np.zeros((1, 3)), np.array([29])), np.ones(3, dtype=bool), "G X", 1e-5)
        at_x = path.corners[0][1] @ np.linalg.inv(vectors).T
        assert np.linalg.norm(at_x) == pytest.approx(1 / 3.6)


@pytest.mark.parametrize(
    "label, plain",
    [("GAMMA", "G"), ("Γ", "G"), ("$\\Gamma$", "G"), ("X1", "X_1"), ("H_2", "H_2"), ("G", "G")],
)
def test_a_point_has_one_name(label: str, plain: str) -> None:
    assert plain_label(label) == plain


def test_a_supercell_does_not_repeat_an_open_direction() -> None:
    cell, pbc = np.diag([3.0, 3.0, 20.0]), np.array([True, True, False])
    with pytest.raises(UsageError, match=r'direction c, in which pbc is False.*--supercell "2 2 1"'):
        supercell_matrix(PhononSettings(supercell="2 2 2"), cell, pbc, pbc)
    with pytest.raises(UsageError, match="direction c"):
        supercell_matrix(PhononSettings(supercell="2 0 0 0 2 1 0 0 1"), cell, pbc, pbc)
    kept = supercell_matrix(PhononSettings(supercell="1 1 0 -1 1 0 0 0 1"), cell, pbc, pbc)
    assert kept.tolist() == [[1, 1, 0], [-1, 1, 0], [0, 0, 1]]


def test_a_zero_vector_is_named_where_it_should_repeat() -> None:
    atoms = Atoms("Cu", cell=[2.6, 2.6, 0.0], pbc=True)
    atoms.calc = morse()
    with pytest.raises(BadStructureError, match="Direction c is periodic but cell vector c is zero"):
        phonons(atoms)


def test_vacuum_is_told_from_sparse_crystals() -> None:
    layer = Atoms("Cu2", [[0, 0, 19], [0, 0, 21.4]], cell=[2.6, 2.6, 20.0], pbc=True)
    assert repeating(layer).tolist() == [True, True, False]
    assert repeating(Atoms("Cu2", [[0, 0, 0], [0, 0, 6]], cell=[2.6, 2.6, 12.0], pbc=True)).all()
    assert repeating(
        Atoms("Cu", cell=[9.0, 9.0, 9.0], pbc=True)
    ).all()  # a molecule in a box, as it was given


def test_what_a_run_would_do_is_known_before(slab: Atoms) -> None:
    phonon, box, periodic = displacements(slab, PhononSettings(min_length=6.0))
    assert periodic.tolist() == [True, True, False]
    assert np.diag(phonon.supercell_matrix).tolist() == [3, 3, 1]
    assert box.get_all_distances(mic=True) == pytest.approx(slab.get_all_distances(mic=True))
    assert slab.cell[2, 2] != box.cell[2, 2]


@pytest.mark.parametrize("wrong", [(np.inf, 2, 2), (None, 2, 2), (2.5, 2, 2), "2 2 x"], ids=str)
def test_a_supercell_is_made_of_whole_numbers(wrong: object) -> None:
    with pytest.raises(UsageError, match="whole numbers"):
        PhononSettings(supercell=wrong)
