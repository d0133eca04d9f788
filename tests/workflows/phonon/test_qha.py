"""Thermal expansion and Grüneisen parameters are those of Morse bonds between nearest neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.morse import MorsePotential
from ase.units import GPa

from jmp_calc import qha
from jmp_calc.errors import BadStructureError, JMPWarning, NotConvergedError, UsageError
from jmp_calc.io.outdir import LOCK_NAME
from jmp_calc.workflows.phonon.qha_result import OUTPUTS, QhaResult
from tests.workflows.conftest import morse

R0, RHO0, EPSILON = 2.6, 3.8, 0.34
QUICK = {"supercell": "2 2 2", "mesh": "5 5 5", "tmax": 400.0, "tstep": 20.0}
R = 8.31446


def neighbours_only(a: float = R0 * 2**0.5) -> Atoms:
    """Fcc, bonds between nearest neighbours alone, whose forces vanish at ``a``."""
    atoms = bulk("Cu", "fcc", a=a)
    atoms.calc = MorsePotential(epsilon=EPSILON, r0=R0, rho0=RHO0, rcut1=1.2, rcut2=1.35)
    return atoms


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("qha")


@pytest.fixture(scope="module")
def result(folder: Path) -> QhaResult:
    return qha(neighbours_only(), **QUICK, out=folder)


@pytest.mark.capability("D14")
def test_gruneisen_parameters_of_the_modes_are_those_of_the_bond(result: QhaResult) -> None:
    """Σ γ ω² / Σ ω² = -d ln(U'' + 2 U'/r) / 6 d ln r, for a Morse bond at its minimum ρ0/2 - 1/3."""
    modes = result.modes
    weights = modes.weights[:, None] * modes.frequencies_thz**2
    known = np.isfinite(modes.gamma)
    assert np.count_nonzero(~known) == 3  # the translations
    assert np.average(modes.gamma[known], weights=weights[known]) == pytest.approx(RHO0 / 2 - 1 / 3, rel=0.01)
    assert modes.volume_a3 == pytest.approx(R0**3 / 2**0.5, rel=1e-6)


@pytest.mark.capability("D13")
def test_expansion_is_gruneisens_law(result: QhaResult) -> None:
    """α = γ Cv / (V K); at 300 K nearly classical, with the mean γ of the modes."""
    row = 15
    assert result.temperatures[row] == 300.0
    stiffness = result.volume[row] * 1e-30 * result.bulk_modulus_gpa[row] * 1e9
    law = result.modes.mean * 3 * R / 6.02214e23 / stiffness
    assert result.thermal_expansion[row] == pytest.approx(law, rel=0.1)
    assert result.gruneisen[row] == pytest.approx(result.modes.mean, rel=0.05)
    cp = 3 * R * (1 + result.thermal_expansion[-1] * result.gruneisen[-1] * 400)
    assert result.heat_capacity[-1] == pytest.approx(cp, rel=0.04)  # a mesh of 125 points lacks 1 %


def test_bulk_modulus_at_0_k_is_that_of_the_bonds_less_the_zero_point_motion(result: QhaResult) -> None:
    curvature = 2 * EPSILON * RHO0**2 / R0**2
    static = 2 * 2**0.5 / 3 * curvature / R0 / GPa
    assert 0.95 * static < result.bulk_modulus_gpa[0] < static
    assert R0**3 / 2**0.5 < result.volume[0] < result.volume[-1]
    assert result.lattice_a is not None
    assert result.lattice_a[0] == pytest.approx((result.volume[0] * 2**0.5) ** (1 / 3), rel=1e-6)


def test_files_are_phonopys_own(result: QhaResult, folder: Path) -> None:
    pytest.importorskip("matplotlib")
    assert {path.name for path in folder.iterdir()} - {LOCK_NAME} == set(OUTPUTS)
    volumes = np.loadtxt(folder / "volume-temperature.dat")
    assert volumes[:, 1] == pytest.approx(result.volume)
    cp = np.loadtxt(folder / "Cp-temperature.dat")
    assert cp[:, 1] == pytest.approx(result.heat_capacity, abs=1e-4)
    expansion = np.loadtxt(folder / "thermal_expansion.dat")
    assert expansion[:, 1] == pytest.approx(result.thermal_expansion)
    entropy = np.loadtxt(folder / "entropy-temperature.dat")
    assert entropy[:, 1] == pytest.approx(result.entropy, abs=1e-4)
    bulk_modulus = np.loadtxt(folder / "bulk_modulus-temperature.dat")
    assert bulk_modulus[:, 1] == pytest.approx(result.bulk_modulus_gpa, abs=1e-3)


def test_the_summary_says_what_is_of_what(result: QhaResult) -> None:
    said = result.to_dict()
    assert said["per_mole_of"] == "primitive cells Cu (1 atom)"
    assert said["trusted_to_k"] == result.temperatures[-1] == 400.0
    assert said["at_300_k"]["temperature_k"] == 300.0
    assert said["at_300_k"]["volume_a3"] == result.volume[15]
    assert said["left_out_a3"] == []
    assert "1e-6/K" in repr(result)


def test_a_cell_of_several_primitive_cells_gives_the_same(result: QhaResult) -> None:
    cubic = bulk("Cu", "fcc", a=R0 * 2**0.5, cubic=True)
    cubic.calc = neighbours_only().calc
    same = qha(cubic, **{**QUICK, "supercell": "2 2 2"})
    assert same.energies_ev == pytest.approx(result.energies_ev, abs=1e-9)
    assert same.volume == pytest.approx(result.volume, rel=1e-3)
    assert same.per == result.per


def test_pressure_makes_it_smaller(result: QhaResult) -> None:
    pressed = qha(neighbours_only(), **QUICK, pressure_gpa=1.0)
    smaller = -np.log(pressed.volume[0] / result.volume[0])
    assert smaller == pytest.approx(1.0 / result.bulk_modulus_gpa[0], rel=0.05)


def test_where_volumes_end_too_early_it_is_said() -> None:
    with pytest.warns(JMPWarning, match=r"above \d+ K the volume is beyond those computed"):
        early = qha(neighbours_only(), **QUICK, max_volume=1.01)
    assert early.trusted_to_k is not None
    assert 0 < early.trusted_to_k < 400.0
    early.require_trusted()
    with pytest.warns(JMPWarning, match="everything is extrapolated"):
        outside = qha(neighbours_only(1.03 * R0 * 2**0.5), **QUICK, min_volume=0.97, max_volume=1.02)
    assert outside.trusted_to_k is None
    with pytest.raises(NotConvergedError, match="At 0 K the volume of least free energy"):
        outside.require_trusted()


@pytest.mark.filterwarnings("ignore:above")
def test_volumes_with_imaginary_modes_are_left_out_or_too_many() -> None:
    """Bonds that let go at a stretch of 15 % push back no more."""
    atoms = neighbours_only()
    atoms.calc = MorsePotential(epsilon=EPSILON, r0=R0, rho0=RHO0, rcut1=1.04, rcut2=1.2)
    settings = {**QUICK, "tmax": 60.0, "max_volume": 1.6, "n_volumes": 9}
    with pytest.warns(JMPWarning, match="volumes with imaginary modes are left out") as caught:
        found = qha(atoms, **settings)
    assert found.left_out_a3
    assert found.volumes_used.max() < min(found.left_out_a3)
    assert any(f"{found.left_out_a3[0]:.2f} Å³ (-" in str(warning.message) for warning in caught)
    atoms = bulk("Cu", "sc", a=2.208)
    atoms.calc = morse()
    with pytest.raises(NotConvergedError, match="Only 0 volumes have no imaginary modes"):
        qha(atoms, **{**QUICK, "supercell": "3 3 3"})


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"n_volumes": 4}, "from 5 to 100"),
        ({"min_volume": 1.02}, "must lie between them"),
        ({"max_volume": 0.99}, "must lie between them"),
        ({"max_volume": float("nan")}, "the smaller first"),
        ({"eos": "birch"}, "Unknown eos"),
        ({"relax": "full"}, "Unknown relax"),
        ({"pressure_gpa": float("nan")}, "pressure must be finite"),
        ({"tmax": 20.0, "tstep": 10.0}, "at least 3 steps"),
        ({"supercell": "2 2"}, "3 or 9 whole numbers"),
        ({"mesh": "0 1 1"}, "at least 1"),
    ],
)
def test_settings_that_cannot_be_meant(wrong: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        qha(neighbours_only(), **wrong)


def test_what_is_no_crystal_is_refused() -> None:
    ethanol = molecule("CH3CH2OH")
    ethanol.calc = morse(periodic=False)
    with pytest.raises(BadStructureError, match="thermal expansion can only be of a crystal"):
        qha(ethanol)
