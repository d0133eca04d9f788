"""Vibrations: springs with known frequencies, free motions told apart, gases with tabulated entropies."""

from __future__ import annotations

import warnings
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential
from ase.constraints import FixAtoms, FixBondLength
from ase.vibrations import VibrationsData

from jmp_calc import JMPCalculator, vib
from jmp_calc.errors import JMPWarning, NotConvergedError, UsageError
from jmp_calc.units import CM1_PER_EV, EV_PER_FREQUENCY
from jmp_calc.workflows.vibrations.modes import gathered
from jmp_calc.workflows.vibrations.result import INFRARED_PLOTS, OUTPUTS
from jmp_calc.workflows.vibrations.settings import VibSettings, atom_numbers
from jmp_calc.workflows.vibrations.symmetry import symmetry_number

STIFFNESS = 2 * 0.34 * (3.8 / 2.6) ** 2
"""Of a bond of the conftest's Morse potential at its minimum, eV/Å²."""


def cm1(stiffness: float, mass: float) -> float:
    """Of a spring in eV/Å² and a mass in amu."""
    return EV_PER_FREQUENCY * CM1_PER_EV * float(np.sqrt(stiffness / mass))


def diatomic(symbols: str, length: float, wavenumber: float) -> Atoms:
    """Two atoms whose harmonic wavenumber (cm⁻¹) and bond length (Å) are these."""
    atoms = Atoms(symbols, [[0, 0, 0], [0, 0, length]])
    a, b = atoms.get_masses()
    stiffness = (wavenumber / cm1(1.0, a * b / (a + b))) ** 2
    atoms.calc = MorsePotential(
        epsilon=0.5 * stiffness * length**2 / 25, r0=length, rho0=5.0, rcut1=3.0, rcut2=4.0
    )
    return atoms


@pytest.mark.capability("C17")
def test_a_tetrahedron_of_springs(cluster: Atoms) -> None:
    """Four equal atoms and six equal springs: E, T2 and A1 with 1, 2 and 4 times k/m."""
    result = vib(cluster, displacement=1e-3)
    mass = cluster.get_masses()[0]
    wanted = [cm1(times * STIFFNESS, mass) for times in (1, 1, 2, 2, 2, 4)]
    assert result.frequencies_cm1 == pytest.approx(wanted, rel=1e-3)
    assert len(result.modes.translations_cm1) == len(result.modes.rotations_cm1) == 3
    assert np.abs(result.modes.translations_cm1).max() < 0.1
    assert np.abs(result.modes.rotations_cm1).max() < 1.0
    assert result.symmetry_number == 12 and result.method == "finite"
    breathing = result.modes.displacements[-1]
    assert np.linalg.norm(breathing, axis=1) == pytest.approx(1.0, abs=1e-3)
    assert result.modes.reduced_masses[-1] == pytest.approx(mass, rel=1e-3)
    assert "6 modes" in repr(result) and "none imaginary" in repr(result)


def test_isotopes_change_frequencies_as_their_reduced_mass(cluster: Atoms) -> None:
    pair = cluster[:2]
    pair.calc = cluster.calc
    light = vib(pair, displacement=1e-3).frequencies_cm1
    pair.set_masses([pair.get_masses()[0], 1e9])
    assert len(light) == 1
    assert vib(pair, displacement=1e-3).frequencies_cm1 == pytest.approx(light / np.sqrt(2), rel=1e-4)


@pytest.mark.capability("C17")
@pytest.mark.parametrize(
    ("symbols", "length", "wavenumber", "entropy"),
    [("N2", 1.0977, 2358.6, 191.609), ("CO", 1.1283, 2169.8, 197.653), ("HCl", 1.2746, 2990.9, 186.901)],
)
def test_entropies_of_gases_are_those_of_the_tables(
    symbols: str, length: float, wavenumber: float, entropy: float
) -> None:
    """NIST-JANAF, 298.15 K, 1 bar, J/(mol K)."""
    result = vib(diatomic(symbols, length, wavenumber), displacement=1e-3)
    assert result.frequencies_cm1 == pytest.approx([wavenumber], rel=1e-3)
    (gas,) = result.thermo
    assert gas.model == "ideal-gas" and gas.pressure_pa == 1e5
    assert gas.entropy_ev_per_k / units.J * units.mol == pytest.approx(entropy, abs=0.2)
    assert gas.zero_point_ev == pytest.approx(0.5 * wavenumber / CM1_PER_EV, rel=1e-3)
    # 5/2 kT of moving and turning, kT of pressing, a frozen bond
    warmth = gas.enthalpy_ev - result.energy_ev - gas.zero_point_ev
    assert warmth == pytest.approx(3.5 * units.kB * 298.15, rel=1e-3)
    assert gas.correction_ev == pytest.approx(gas.free_energy_ev - result.energy_ev)


def test_an_atom_is_a_gas_of_sackur_and_tetrode() -> None:
    argon = Atoms("Ar", calculator=MorsePotential())
    result = vib(argon, temperatures=[298.15, 596.3], pressure_pa=101325.0)
    assert len(result.frequencies_cm1) == 0 and "no vibrations" in repr(result)
    cold, hot = result.thermo
    assert cold.entropy_ev_per_k / units.J * units.mol == pytest.approx(154.737, abs=0.02)
    growth = 2.5 * units.kB * np.log(2)
    assert hot.entropy_ev_per_k - cold.entropy_ev_per_k == pytest.approx(growth)


@pytest.mark.parametrize("base", [[1, 2, 3], [-3, -2, -1]], ids=str)
def test_an_atom_between_fixed_ones_is_an_einstein_oscillator(cluster: Atoms, base: list[int]) -> None:
    """The apex of the tetrahedron on its fixed base: springs at the angles of the edges."""
    cluster.set_constraint(FixAtoms(base))
    result = vib(cluster, displacement=1e-3, temperatures=(50.0, 3000.0))
    mass = cluster.get_masses()[0]
    assert result.frequencies_cm1 == pytest.approx(
        [cm1(k * STIFFNESS, mass) for k in (0.5, 0.5, 2)], rel=1e-3
    )
    assert not len(result.modes.translations_cm1) and result.symmetry_number is None
    cold, hot = result.thermo
    assert hot.model == "harmonic" and hot.pressure_pa is None
    assert hot.internal_energy_ev - result.energy_ev == pytest.approx(3 * units.kB * 3000, rel=1e-2)
    assert cold.free_energy_ev < cold.internal_energy_ev == cold.enthalpy_ev
    part = vib(cluster, indices="0", displacement=1e-3)
    assert part.frequencies_cm1 == pytest.approx(result.frequencies_cm1, rel=1e-6)


def test_a_molecule_cut_by_its_box_is_the_same_molecule(cluster: Atoms) -> None:
    free = vib(cluster, displacement=1e-3)
    boxed = cluster.copy()
    boxed.set_cell(np.diag([14.0, 15.0, 16.0]) + np.eye(3, k=1))
    boxed.pbc = True
    boxed.positions += [0.3, 14.9, 0.2]
    boxed.wrap()
    boxed.calc = cluster.calc
    result = vib(boxed, displacement=1e-3)
    assert result.frequencies_cm1 == pytest.approx(free.frequencies_cm1, abs=0.01)
    assert result.symmetry_number == 12
    assert result.thermo[0].free_energy_ev == pytest.approx(free.thermo[0].free_energy_ev, abs=1e-5)
    assert boxed.pbc.all()  # what was given stays


@pytest.mark.parametrize(
    ("pbc", "cell", "turns"),
    [
        ((0, 0, 1), (0, 0, 4), 1),
        ((1, 1, 1), (20, 20, 4), 1),
        ((1, 1, 0), (4, 4, 0), 0),
        ((1, 1, 1), (4, 4, 4), 0),
    ],
)
def test_wires_turn_about_themselves_and_layers_and_crystals_do_not(
    pbc: tuple[int, ...], cell: tuple[int, ...], turns: int
) -> None:
    atoms = Atoms("Cu2", [[0, 0, 0], [0.5, 0, 2]], cell=cell, pbc=pbc)
    _, axes = gathered(atoms)
    assert np.abs(axes).tolist() == [[0, 0, 1]] * turns


def test_a_crystal_has_three_translations(copper: Atoms) -> None:
    result = vib(copper, displacement=1e-3)
    assert len(result.frequencies_cm1) == 3 * len(copper) - 3
    assert np.abs(result.modes.translations_cm1).max() < 0.1
    assert result.frequencies_cm1.min() > 10 and result.thermo[0].model == "harmonic"


def test_imaginary_modes_are_named_and_left_out(cluster: Atoms) -> None:
    """A square of pair forces folds into a tetrahedron, or shears into a rhombus."""
    square = Atoms("Cu4", [[0, 0, 0], [2.5, 0, 0], [2.5, 2.5, 0], [0, 2.5, 0]], calculator=cluster.calc)
    with pytest.warns(JMPWarning, match="left out of the thermochemistry"):
        result = vib(square)
    assert len(result.imaginary_cm1) == 2
    heights = np.abs(result.modes.displacements[:2, :, 2]).max(axis=1)
    assert sorted(heights) == pytest.approx([0.0, 1.0], abs=1e-3)
    with pytest.raises(NotConvergedError, match="Imaginary modes: the worst has -"):
        result.require_stable()


@pytest.mark.filterwarnings("ignore:the Hessian gives a rotation")
@pytest.mark.parametrize("name", ["H2O", "CO2"])
def test_automatic_and_finite_differentiation_agree(calc: JMPCalculator, name: str) -> None:
    """Of a random network, which has no minimum there: frequencies need none."""
    atoms = molecule(name)
    given = {"relax": False, "allow_unconverged": True, "thermo": "none"}
    exact = vib(atoms, calc=calc, **given)
    finite = vib(atoms, calc=calc, method="finite", displacement=1e-3, **given)
    assert (exact.method, finite.method) == ("autograd", "finite")
    assert exact.frequencies_cm1 == pytest.approx(finite.frequencies_cm1, abs=0.5)
    assert exact.hessian.asymmetry < 1e-9 < finite.hessian.asymmetry
    assert exact.thermo == ()


def test_files_are_those_that_other_tools_read(cluster: Atoms, tmp_path: Path) -> None:
    result = vib(cluster, animate=2, out=tmp_path, prefix="a")
    found = {path.name for path in tmp_path.iterdir()}
    assert found >= {f"a-{name}" for name in OUTPUTS if name not in INFRARED_PLOTS}
    assert not found & {f"a-{name}" for name in INFRARED_PLOTS}, "there are no dipoles"
    data = VibrationsData.read(tmp_path / "a-vibrations.json")
    theirs = data.get_frequencies().real[-6:]
    assert theirs == pytest.approx(result.frequencies_cm1, abs=1e-3)
    frames = ase.io.read(tmp_path / "a-modes.extxyz", ":")
    assert len(frames) == 32 and {frame.info["mode"] for frame in frames} == {1, 2}
    assert np.linalg.norm(frames[4].positions - frames[0].positions, axis=1).max() == pytest.approx(0.3)
    table = (tmp_path / "a-frequencies.dat").read_text().splitlines()
    assert [line.split()[1] for line in table[1:]] == ["translation"] * 3 + ["rotation"] * 3 + [
        "vibration"
    ] * 6
    assert np.loadtxt(tmp_path / "a-thermo.dat", ndmin=2).shape[0] == 1


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("H2O", 2),
        ("NH3", 3),
        ("CH4", 12),
        ("C2H6", 6),
        ("C6H6", 12),
        ("CO2", 2),
        ("HCl", 1),
        ("CH3CH2OH", 1),
        ("cyclobutane", 4),
        ("H", 1),
    ],
)
def test_symmetry_numbers(name: str, wanted: int) -> None:
    atoms = molecule(name)
    atoms.rotate(37, (1, 2, 3))
    assert symmetry_number(atoms.numbers, atoms.positions, atoms.get_masses()) == wanted
    atoms.rattle(0.002, seed=1)
    assert symmetry_number(atoms.numbers, atoms.positions, atoms.get_masses()) == wanted


def test_isotopes_lower_the_symmetry() -> None:
    atoms = molecule("CH4")
    masses = atoms.get_masses()
    masses[1] = 2.014
    assert symmetry_number(atoms.numbers, atoms.positions, masses) == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "exact"}, "Unknown method"), ({"thermo": "rrho"}, "Unknown thermo"),
        ({"displacement": 0.0}, "displacement must be positive"), ({"displacement": 0.6}, "at most 0.5"),
        ({"temperatures": "0"}, "must be positive"), ({"temperatures": "hot"}, "no temperatures"),
        ({"temperatures": ()}, "must be positive"), ({"temperatures": float("nan")}, "must be positive"),
        ({"symmetry_number": 0}, "symmetry number"), ({"spin": 0.3}, "The spin"),
        ({"spin": float("nan")}, "The spin"),
        ({"indices": "a"}, "no number of an atom"), ({"indices": ""}, "No atom is named"),
        ({"indices": "1.5"}, "no number of an atom"), ({"relax_steps": 0}, "relax_steps"),
        ({"pressure_pa": -1.0}, "pressure_pa must be positive"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_meant(given: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        VibSettings(**given)


def test_numbers_of_atoms_are_read() -> None:
    assert atom_numbers("0, 2 4:7") == (0, 2, 4, 5, 6) == atom_numbers([0, 2, 4, 5, 6])


def test_what_does_not_fit_the_structure_is_refused(cluster: Atoms, copper: Atoms) -> None:
    for atoms, given, message in (
        (cluster, {"method": "autograd"}, "no Hessian by automatic"),
        (cluster, {"indices": [4]}, "no atom 4"),
        (copper, {"thermo": "ideal-gas"}, "Only a free molecule"),
        (cluster, {"thermo": "ideal-gas", "indices": [0]}, "Only a free molecule"),
    ):
        with pytest.raises(UsageError, match=message):
            vib(atoms, **given)
    for constraint, given, message in (
        (FixBondLength(0, 1), {}, "no constraints but fixed atoms, the structure has FixBondLength"),
        (FixAtoms([0, 1, 2, 3]), {}, "Every atom is fixed"),
        (FixAtoms([2]), {"indices": [1, 2]}, "Atom 2 is to vibrate and is fixed"),
    ):
        cluster.set_constraint(constraint)
        with pytest.raises(UsageError, match=message):
            vib(cluster, **given)
    with pytest.raises(UsageError, match="no calculator"):
        vib(bulk("Cu"))


def test_a_structure_that_is_not_at_rest_is_refused(cluster: Atoms) -> None:
    cluster.positions[0] += 0.2
    with pytest.raises(NotConvergedError, match="not relaxed.*no-relax"):
        vib(cluster, relax=False)
    with pytest.raises(NotConvergedError, match="pre-relaxation"):
        vib(cluster, relax_steps=1)


def test_cold_gases_have_no_heat_and_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = vib(molecule("H2O"), calc=EMT(), temperatures=0.001)
    assert result.thermo[0].correction_ev == pytest.approx(result.zero_point_ev, abs=1e-5)


def test_one_mode_is_not_many() -> None:
    result = vib(molecule("N2"), calc=EMT())
    assert result.words.startswith("one mode at ") and result.words.endswith("cm-1, none imaginary")
