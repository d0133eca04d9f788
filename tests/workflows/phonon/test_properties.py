"""Per-atom densities, thermal displacements and group velocities are those of textbooks; figures have the
unit that was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import _amu, _hbar, _k

from jmp_calc import phonons, relax
from jmp_calc.workflows.phonon.result import PhononResult
from tests.workflows.conftest import morse

QUICK = {"band_points": 5, "relax": False, "fmax": 1e-3, "tmax": 610.0, "tstep": 100.0}
SPRING = 2 * 0.34 * 3.8**2 / 2.6**2
"""eV/Å²: of a Morse bond at its equilibrium."""


@pytest.fixture(scope="module")
def two_isotopes() -> PhononResult:
    """Morse copper, three atoms of 64 and one of 20 u, with all that is per atom."""
    cubic = bulk("Cu", "fcc", a=3.302, cubic=True)
    cubic.set_masses([64.0, 64.0, 20.0, 64.0])
    cubic.calc = morse()
    return phonons(cubic, supercell="2 2 2", mesh="2 2 2", pdos=True, thermal_displacements=True, **QUICK)


@pytest.mark.capability("D3")
def test_projected_densities_add_up_to_the_total(two_isotopes: PhononResult) -> None:
    frequencies, total = two_isotopes.dos
    parts = two_isotopes.projected_dos
    assert parts is not None
    assert parts.shape == (4, len(frequencies))
    assert parts.sum(axis=0) == pytest.approx(total, abs=0.02 * total.max())
    states = np.trapezoid(parts, frequencies, axis=1)
    assert states.sum() == pytest.approx(12.0, rel=0.02)
    assert states == pytest.approx(3.0, rel=0.15)  # the mesh is coarse
    square = np.trapezoid(parts * frequencies**2, frequencies, axis=1) / states
    assert square[2] / square[0] == pytest.approx(64 / 20, rel=0.1)  # of one spring, as Einstein


@pytest.mark.capability("D5")
def test_thermal_displacements_are_the_sum_over_the_modes() -> None:
    """<u²> = ħ/(2 m N) Σ coth(ħω/2kT)/ω without the three translations."""
    atoms = bulk("Cu", "fcc", a=3.302)
    atoms.calc = morse()
    result = phonons(atoms, supercell="2 2 2", mesh="4 4 4", thermal_displacements=True, **QUICK)
    motion, mesh = result.thermal_motion, result.phonopy.mesh
    assert motion is not None
    moving = np.linalg.norm(mesh.qpoints, axis=1) > 1e-9
    omega = 2e12 * np.pi * mesh.frequencies[moving]
    weights = np.asarray(mesh.weights)[moving, None]
    mass = atoms.get_masses()[0] * _amu
    for row in (1, 3, 6):
        kelvin = motion.temperatures[row]
        swing = weights / np.tanh(_hbar * omega / (2 * _k * kelvin)) / omega
        square = 1e20 * _hbar * swing.sum() / (2 * mass * 4**3)
        assert np.trace(motion.u[row, 0]) == pytest.approx(square, rel=1e-4)
        assert motion.b_factors[row, 0] == pytest.approx(8 * np.pi**2 * square / 3, rel=1e-4)
        assert motion.u[row, 0] == pytest.approx(np.eye(3) * square / 3, rel=1e-4, abs=1e-8)  # a cubic site
    assert motion.u[0, 0, 0, 0] > 0  # zero-point motion


@pytest.mark.capability("D5")
def test_b_factors_are_in_their_file_and_in_the_summary(two_isotopes: PhononResult, tmp_path: Path) -> None:
    motion = two_isotopes.thermal_motion
    assert motion is not None
    two_isotopes.write(tmp_path, plot=False)
    table = np.loadtxt(tmp_path / "b_factors.dat")
    assert table[:, 0] == pytest.approx(motion.temperatures)
    assert table[:, 1:] == pytest.approx(motion.b_factors, abs=1e-6)
    assert "B_3_Cu1(A^2)" in (tmp_path / "b_factors.dat").read_text()
    said = two_isotopes.to_dict()["thermal_motion"]
    assert said["temperature_k"] == 300.0
    assert said["b_factors_a2"] == pytest.approx(table[3, 1:], abs=1e-6)
    assert "_aniso_U_11" in (tmp_path / "thermal_displacements.cif").read_text()


@pytest.mark.capability("D6")
def test_group_velocities_are_those_of_the_chain(tmp_path: Path) -> None:
    """v = a sqrt(K/m) cos(k a/2), in km/s."""
    atoms = Atoms("Cu", pbc=(True, False, False), cell=[2.6, 0, 0])
    atoms.set_masses([64.0])
    atoms.calc = morse(periodic=False)
    settings = {**QUICK, "band_points": 9, "group_velocities": True}
    result = phonons(atoms, supercell="4 1 1", mesh="8 1 1", **settings, out=tmp_path, plot=False)
    found = result.group_velocities_km_s
    assert found is not None
    k_a = 2 * np.pi * result.qpoints[1:, 0]  # at Γ itself the three branches meet
    sound = 2.6e-10 * np.sqrt(SPRING * 1.602176634e-19 / 1e-20 / (64.0 * _amu))
    assert found[1:, -1, 0] == pytest.approx(1e-3 * sound * np.cos(k_a / 2), rel=2e-3, abs=1e-3)
    table = np.loadtxt(tmp_path / "group_velocities.dat")
    assert len(table) == len(result.qpoints) * 3
    assert table[table[:, 4] == 3][:, 6] == pytest.approx(found[:, -1, 0], abs=1e-6)
    assert table[table[:, 4] == 3][:, 5] == pytest.approx(result.frequencies_thz[:, -1], abs=1e-6)


def test_what_was_not_asked_for_is_not_there(tmp_path: Path) -> None:
    atoms = bulk("Cu", "fcc", a=3.302)
    atoms.calc = morse()
    result = phonons(atoms, supercell="2 2 2", mesh="2 2 2", **QUICK, out=tmp_path, plot=False)
    assert result.projected_dos is result.thermal_motion is result.group_velocities_km_s is None
    assert not (tmp_path / "projected_dos.dat").exists()
    assert "thermal_motion" not in result.to_dict()


@pytest.mark.parametrize(
    "unit, label, per_thz", [("THz", "(THz)", 1.0), ("cm-1", "(cm⁻¹)", 33.35641), ("meV", "(meV)", 4.135668)]
)
def test_figures_have_the_unit_that_was_asked_for(
    unit: str, label: str, per_thz: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen in the figure before it is saved."""
    pytest.importorskip("matplotlib")
    from jmp_calc.io import plots

    drawn = []
    monkeypatch.setattr(plots, "_save", lambda figure, paths: drawn.append(figure.axes[0]))
    x, dos = np.linspace(0.0, 2.0, 5), np.ones(5)
    plots.plot_bands([x], [x[:, None]], None, [False], [], unit=unit)
    plots.plot_dos(x, dos, [], parts={"Na": 0.5 * dos, "Cl": 0.5 * dos}, unit=unit)
    bands, density = drawn
    assert label in bands.get_ylabel()
    assert bands.lines[0].get_ydata()[-1] == pytest.approx(2 * per_thz)
    assert label in density.get_xlabel()
    lines = {line.get_label(): line for line in density.lines}
    area = np.trapezoid(lines["all atoms"].get_ydata(), lines["all atoms"].get_xdata())
    assert area == pytest.approx(2.0)
    assert lines["Na"].get_ydata()[0] == pytest.approx(0.5 / per_thz)


def test_the_densities_of_the_atoms_add_up_to_the_total_one() -> None:
    alloy = bulk("Cu", cubic=True, a=3.75)
    alloy.symbols[0] = "Au"
    alloy.calc = EMT()
    alloy = relax(alloy, cell="full").atoms
    found = phonons(alloy, supercell="2 2 2", mesh="6 6 6", pdos=True, **QUICK).phonopy
    total, parts = found.total_dos.dos, found.projected_dos.projected_dos
    assert np.abs(np.sum(parts, axis=0) - total).max() < 1e-6 * total.max()
