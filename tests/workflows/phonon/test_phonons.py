"""Phonons obey lattice dynamics: sum rule, Debye-like limits, named instabilities, phonopy's own files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import phonopy
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from filelock import FileLock

from jmp_calc.errors import BadStructureError, JMPError, JMPWarning, NotConvergedError, UsageError
from jmp_calc.io.outdir import LOCK_NAME
from jmp_calc.workflows.phonon import glue as phonopy_glue
from jmp_calc.workflows.phonon.phonons import displacements, phonons
from jmp_calc.workflows.phonon.result import OUTPUTS, outputs
from jmp_calc.workflows.phonon.settings import PhononSettings, supercell_matrix

QUICK = {"supercell": "2 2 2", "mesh": "6 6 6", "band_points": 11}


@pytest.fixture
def primitive(copper: Atoms) -> Atoms:
    atoms = bulk("Cu", "fcc", a=3.302)
    atoms.calc = copper.calc
    return atoms


@pytest.mark.capability("D9")
def test_three_acoustic_branches_vanish_at_gamma(primitive: Atoms) -> None:
    result = phonons(primitive, **QUICK)
    gamma = result.frequencies_thz[np.linalg.norm(result.qpoints, axis=1) < 1e-9]
    assert len(gamma) > 0
    assert np.abs(gamma).max() < 1e-4
    assert result.lowest_thz > -1e-4
    assert result.imaginary == ()
    assert result.n_displacements == 1  # cubic symmetry
    assert result.space_group.startswith("Fm-3m")
    assert result.band_path == "seekpath"
    highest = result.frequencies_thz.max()
    assert repr(result) == (
        f"PhononResult('Cu', Fm-3m (225), 0.000 to {highest:.3f} THz, no imaginary modes, "
        "thermal per mole of primitive cells Cu (1 atom))"
    )


def test_thermal_properties_say_of_what_they_are(copper: Atoms) -> None:
    cubic = bulk("Cu", "fcc", a=3.302, cubic=True)
    cubic.calc = copper.calc
    result = phonons(cubic, supercell="2 2 2", mesh="4 4 4", band_points=5)
    said = result.to_dict()["thermal"]
    assert said["per_mole_of"] == "primitive cells Cu (1 atom)"
    assert said["n_atoms"] == 1
    assert said["temperature_k"] == 300.0
    assert said["heat_capacity_j_per_k_per_mol"] < 3 * 8.314463
    assert said["heat_capacity_j_per_k_per_mol"] == result.thermal["heat_capacity"][30]


def test_a_calculator_may_be_given(primitive: Atoms) -> None:
    bare = primitive.copy()
    with pytest.raises(UsageError, match="no calculator"):
        phonons(bare, **QUICK)
    assert phonons(bare, calc=primitive.calc, **QUICK).lowest_thz > -1e-3
    assert bare.calc is None


@pytest.mark.capability("D4")
def test_thermal_properties_reach_dulong_and_petit(primitive: Atoms) -> None:
    result = phonons(primitive, **QUICK, tmax=2000, tstep=100)
    n_modes = 3 * 6**3 - 3  # the three translations hold no heat
    classical = 3 * 8.31446 * n_modes / (3 * 6**3)
    assert result.thermal["heat_capacity"][-1] == pytest.approx(classical, rel=0.01)
    assert result.thermal["entropy"][0] == pytest.approx(0.0, abs=1e-6)
    assert np.all(np.diff(result.thermal["free_energy"]) <= 1e-9)


@pytest.mark.capability("D3")
def test_density_of_states_counts_all_modes(primitive: Atoms) -> None:
    frequencies, dos = phonons(primitive, **QUICK).dos
    assert np.trapezoid(dos, frequencies) == pytest.approx(3.0, rel=0.02)


def test_supercell_of_the_cell_does_not_change_the_phonons(primitive: Atoms, copper: Atoms) -> None:
    cubic = bulk("Cu", "fcc", a=3.302, cubic=True)
    cubic.calc = copper.calc
    small = phonons(primitive, **{**QUICK, "supercell": "-2 2 2 2 -2 2 2 2 -2"})
    large = phonons(cubic, **QUICK)
    assert large.frequencies_thz.max() == pytest.approx(small.frequencies_thz.max(), abs=1e-3)
    assert large.frequencies_thz.shape[1] == 3  # primitive cell found by phonopy


def test_heavier_atoms_vibrate_slower(primitive: Atoms) -> None:
    light = phonons(primitive, **QUICK)
    primitive.set_masses([4 * primitive.get_masses()[0]])
    heavy = phonons(primitive, **QUICK)
    assert heavy.frequencies_thz.max() == pytest.approx(light.frequencies_thz.max() / 2, rel=1e-4)


def test_an_atom_without_mass_is_named(primitive: Atoms) -> None:
    primitive.set_masses([0.0])
    with pytest.raises(UsageError, match="positive mass.*atom 0"):
        phonons(primitive, **QUICK)


@pytest.fixture
def unstable(copper: Atoms) -> Atoms:
    """A simple cubic crystal of pair forces, which shear destroys."""
    atoms = bulk("Cu", "sc", a=2.208)
    atoms.calc = copper.calc
    return atoms


@pytest.mark.capability("D10")
def test_fault_88_imaginary_modes_are_named_and_excluded(unstable: Atoms) -> None:
    with pytest.warns(JMPWarning, match="imaginary and excluded"):
        result = phonons(unstable, supercell="3 3 3", mesh="4 4 4", band_points=11)
    worst = result.imaginary[0]
    assert worst.frequency_thz == pytest.approx(result.lowest_thz, abs=1e-6)
    assert worst.frequency_thz < -0.1
    assert 0 < result.excluded_share < 1
    named = [mode["label"] for mode in result.to_dict()["imaginary_modes"]]
    assert any(label in ("X", "M", "R") for label in named)
    with pytest.raises(NotConvergedError, match=r"Imaginary modes: -.* THz at q = ") as caught:
        result.require_stable()
    assert caught.value.exit_code == 3


@pytest.mark.capability("D1")
def test_fault_90_unrelaxed_structures_are_refused(copper: Atoms) -> None:
    copper.rattle(0.02, seed=1)
    with pytest.raises(NotConvergedError, match="not relaxed"):
        phonons(copper, **QUICK, relax=False)
    with pytest.raises(NotConvergedError, match="not relaxed"):
        phonons(copper, **QUICK, relax_steps=1)


@pytest.mark.capability("D1")
def test_positions_are_relaxed_first(primitive: Atoms) -> None:
    result = phonons(primitive, **QUICK)
    assert result.fmax < 1e-4


def test_fault_87_even_mesh_contains_gamma(primitive: Atoms) -> None:
    result = phonons(primitive, **{**QUICK, "mesh": "4 4 6"})  # breaks the cubic symmetry too
    points = np.asarray(result.phonopy.mesh.qpoints)
    assert np.any(np.all(np.abs(points) < 1e-12, axis=1))


@pytest.mark.capability("D2")
def test_fault_86_ase_path_without_seekpath(primitive: Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
    with_seekpath = phonons(primitive, **QUICK)
    monkeypatch.setitem(sys.modules, "seekpath", None)
    result = phonons(primitive, **QUICK)
    assert result.band_path == "ase"
    assert result.frequencies_thz.max() == pytest.approx(with_seekpath.frequencies_thz.max(), abs=0.05)


@pytest.mark.capability("D2")
def test_band_path_by_labels(primitive: Atoms) -> None:
    result = phonons(primitive, **QUICK, bands="G X, K GAMMA L")
    assert result.band_path == "given"
    assert [len(line) for line in result.phonopy.band_structure.qpoints] == [10, 11, 9]
    with pytest.raises(UsageError, match="no point 'Q'"):
        phonons(primitive, **QUICK, bands="G Q")
    with pytest.raises(UsageError, match="two points"):
        phonons(primitive, **QUICK, bands="G")


@pytest.mark.capability("D7", "D17")
def test_files_are_phonopys_own(primitive: Atoms, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    more = {"pdos": True, "thermal_displacements": True, "group_velocities": True, "eigenvectors": True}
    nothing_to_follow = {"followed.extxyz"}
    result = phonons(primitive, **QUICK, **more, follow_imaginary=True, tmax=310.0, out=tmp_path)
    written = sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("."))
    assert written == sorted(set(OUTPUTS) - nothing_to_follow)
    assert sorted(outputs(result.settings)) == sorted(OUTPUTS)
    assert result.followed is None
    assert "eigenvector:" in (tmp_path / "band.yaml").read_text()
    assert "group_velocity:" in (tmp_path / "band.yaml").read_text()
    loaded = phonopy.load(tmp_path / "phonopy_params.yaml", log_level=0)
    at_x = [phonon.run_qpoints([[0.5, 0.5, 0.0]]).frequencies[0] for phonon in (loaded, result.phonopy)]
    assert at_x[0] == pytest.approx(at_x[1], abs=1e-3)
    assert (tmp_path / "band.svg").read_text().startswith("<?xml")


def test_a_folder_in_use_is_known_before_anything_is_computed(primitive: Atoms, tmp_path: Path) -> None:
    with FileLock(tmp_path / LOCK_NAME), pytest.raises(UsageError, match="Another jmp-calc job"):
        phonons(primitive, out=tmp_path, **QUICK)
    assert not primitive.calc.results


def test_molecules_and_constraints_are_refused(primitive: Atoms) -> None:
    ethanol = molecule("CH3CH2OH")
    ethanol.calc = primitive.calc
    with pytest.raises(BadStructureError, match=r"no lattice.*jmp-calc vib"):
        phonons(ethanol)
    primitive.set_constraint(FixAtoms([0]))
    with pytest.raises(UsageError, match="free atoms"):
        phonons(primitive)


def test_left_handed_cells_are_turned_and_given_back_as_they_came(primitive: Atoms) -> None:
    expected = phonons(primitive, **QUICK).frequencies_thz.max()
    primitive.set_cell(primitive.cell[[1, 0, 2]])
    result = phonons(primitive, **QUICK)
    assert result.frequencies_thz.max() == pytest.approx(expected, abs=1e-4)
    assert result.atoms.cell.array == pytest.approx(primitive.cell.array)
    assert np.linalg.det(result.phonopy.unitcell.cell) > 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bands": "G Q"}, "no point 'Q'"),
        ({"born": __file__}, "no BORN file"),
        ({"supercell": "1 1 1"}, "one atom"),
    ],
    ids=["bands", "born", "supercell"],
)
def test_what_cannot_be_meant_is_told_before_anything_is_computed(
    primitive: Atoms, tmp_path: Path, wrong: dict[str, str], message: str
) -> None:
    primitive.calc.reset()
    with pytest.raises(JMPError, match=message):
        phonons(primitive, out=tmp_path, **{**QUICK, **wrong})
    assert not primitive.calc.results


def test_a_supercell_that_cannot_vibrate_is_refused(primitive: Atoms) -> None:
    with pytest.raises(UsageError, match="one atom.*--supercell"):
        phonons(primitive, **{**QUICK, "supercell": "1 1 1"})
    apart = bulk("Cu", "sc", a=9.0)  # beyond the reach of the potential
    apart.calc = primitive.calc
    with pytest.raises(BadStructureError, match="feels no force"):
        phonons(apart, **QUICK)


def test_tags_are_carried_into_the_supercells(primitive: Atoms) -> None:
    salt = bulk("NaCl", "rocksalt", a=5.0)
    salt.set_tags([1, 2])
    salt.calc = primitive.calc
    phonon, box, _ = displacements(salt, PhononSettings(supercell="2 2 2"))
    seen = phonopy_glue.ase_supercells(phonon, box)
    for cell in seen:
        assert len(cell) == 16
        assert [{"Na": 1, "Cl": 2}[symbol] for symbol in cell.symbols] == cell.get_tags().tolist()


@pytest.mark.parametrize(
    "spoil, n_displacements",
    [
        (lambda atoms: None, 1),
        (lambda atoms: atoms.set_tags([0, 0, 2, 2]), 1),  # read by no calculator here
        (lambda atoms: atoms.set_masses([60.0, 60.0, 64.0, 64.0]), 2),
        (lambda atoms: atoms.set_initial_magnetic_moments([1.0, 1.0, -1.0, -1.0]), 2),
        (lambda atoms: atoms.set_initial_charges([0.1, 0.1, -0.1, -0.1]), 2),
    ],
)
def test_atoms_that_differ_are_not_equivalent(copper: Atoms, spoil: Callable, n_displacements: int) -> None:
    cubic = bulk("Cu", "fcc", a=3.302, cubic=True)
    cubic.calc = copper.calc
    spoil(cubic)
    phonon, box, _ = displacements(cubic, PhononSettings(supercell="2 2 2"))
    cells = phonopy_glue.ase_supercells(phonon, box)
    assert len(cells) == n_displacements
    for name in cubic.arrays.keys() - {"positions"}:
        assert sorted(cells[0].arrays[name]) == sorted(np.tile(cubic.arrays[name], 8)), name


def test_tags_are_told_apart_where_the_model_reads_them(copper: Atoms) -> None:
    class ReadsTags(type(copper.calc)):
        info = SimpleNamespace(policy=SimpleNamespace(tags="atoms"))

    cubic = bulk("Cu", "fcc", a=3.302, cubic=True)
    cubic.calc = ReadsTags()
    for tags, n_displacements in ((2, 1), ([0, 0, 2, 2], 2)):
        cubic.set_tags(tags)
        phonon, _, _ = displacements(cubic, PhononSettings(supercell="2 2 2"))
        assert len(phonon.supercells_with_displacements) == n_displacements


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"supercell": "2 2"}, "3 or 9 whole numbers"),
        ({"supercell": "2 2 0"}, "at least 1"),
        ({"supercell": "a b c"}, "whole numbers"),
        ({"supercell": "2 2 2.5"}, "whole numbers"),
        ({"mesh": "0 1 1"}, "at least 1"),
        ({"displacement": 0.0}, "displacement"),
        ({"tstep": -1.0}, "tstep"),
        ({"tmin": 500.0, "tmax": 100.0}, "tmin"),
        ({"band_points": 1}, "band_points"),
        ({"displacement": 5.0}, "at most 0.5 Å"),
        ({"band_points": 10**9}, "at most 10000"),
        ({"mesh": (10**4, 10**4, 10**4)}, "mesh may have"),
        ({"tmax": 1e9, "tstep": 1e-9}, "more than 100000"),
        ({"tstep": 5e-324}, "more than 100000"),
        ({"tmax": float("inf")}, "more than 100000"),
        ({"frequency_unit": "eV"}, "frequency_unit must be one of THz, cm-1, meV"),
        ({"prefix": "a/b", "out": "/nowhere/at/all"}, "not a path"),
        ({"supercell": (1, 0, 0, 0, 1, 0, 0, 0, -1)}, "determinant"),
    ],
)
def test_fault_59_settings_that_cannot_be_meant(primitive: Atoms, wrong: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        phonons(primitive, **wrong)


@pytest.mark.capability("D12")
def test_automatic_supercell_separates_images_also_in_skewed_cells() -> None:
    skewed = np.array([[3.0, 0, 0], [2.9, 1.0, 0], [0, 0, 4.0]])
    matrix = supercell_matrix(PhononSettings(min_length=8.0), skewed, *2 * [np.ones(3, dtype=bool)])
    images = np.indices((5, 5, 5)).reshape(3, -1).T - 2
    lengths = np.linalg.norm(images @ (matrix @ skewed), axis=1)
    assert lengths[lengths > 1e-9].min() >= 8.0 - 1e-6
    in_plane = np.array([True, True, False])
    slab = supercell_matrix(PhononSettings(min_length=10.0), np.diag([3.0, 4.0, 20.0]), in_plane, in_plane)
    assert slab.tolist() == [[4, 0, 0], [0, 3, 0], [0, 0, 1]]


@pytest.mark.capability("D16")
@pytest.mark.parametrize("version", ["2.48.0", "4.9.1", "5.0.0"])
def test_fault_85_other_phonopy_generations_are_refused_in_one_place(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(phonopy_glue.metadata, "version", lambda name: version)
    with pytest.raises(JMPError, match=rf"{version} of phonopy is not supported"):
        phonopy_glue.require_phonopy()
