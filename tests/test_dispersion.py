"""D3(BJ) beside a calculator: sums of every property, and refusals where it would be counted twice."""

from __future__ import annotations

import pickle
from contextlib import suppress
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.units import Bohr, Hartree

from jmp_calc import JMPCalculator
from jmp_calc.dispersion import INSTALL, named_functional, refuse_twice, with_dispersion
from jmp_calc.errors import JMPWarning, ModelError, UsageError
from jmp_calc.model.config import HeadConfig, Theory
from jmp_calc.workflows.potentials import model_fingerprint

needs_dftd3 = pytest.mark.skipif(find_spec("dftd3") is None, reason=f"run: {INSTALL}")


class Nothing(Calculator):
    """No energy anywhere: what is left is dispersion."""

    implemented_properties = ("energy", "free_energy", "energies", "forces", "stress", "dipole")

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)) -> None:
        super().calculate(atoms, properties, system_changes)
        count = len(atoms)
        self.results = {
            "energy": 0.0,
            "free_energy": 0.0,
            "energies": np.zeros(count),
            "forces": np.zeros((count, 3)),
            "stress": np.zeros(6),  # also of a molecule, as some calculators do
            "dipole": np.array([1.0, 2.0, 3.0]),
        }


@needs_dftd3
def test_stresses_of_atoms_have_no_sum() -> None:
    argon = bulk("Ar", cubic=True)
    argon.calc = with_dispersion(LennardJones(sigma=3.4, epsilon=0.01), functional="pbe")
    argon.get_stress()
    assert "stresses" not in argon.calc.results
    for ask in (argon.get_stresses, lambda: argon.calc.calculate(argon, ["energy", "stresses"])):
        with pytest.raises(PropertyNotImplementedError, match="does not tell the part of dispersion"):
            ask()


def told(functional: str, dispersion: str = "none", level: str = "") -> SimpleNamespace:
    """A calculator that says how its labels were made."""
    head = HeadConfig("head", level_of_theory=level or functional, theory=Theory(functional, "", dispersion))
    return SimpleNamespace(info=SimpleNamespace(name="model", head="head", heads=(head,)))


@pytest.mark.parametrize(
    ("functional", "name"), [("PBE", "pbe"), ("B3LYP", "b3lyp"), ("r2SCAN", "r2scan"), ("PBE+U", "pbe")]
)
def test_the_functional_is_that_of_the_head(functional: str, name: str) -> None:
    assert named_functional(told(functional)) == name
    assert named_functional(told("", level=f"{functional}/def2-TZVP (somewhere)")) == name


def test_a_functional_that_is_not_known_must_be_named() -> None:
    for silent in (told("", level="unknown"), EMT()):
        with pytest.raises(UsageError, match="does not say with which functional") as caught:
            named_functional(silent)
        assert "functional=NAME" in str(caught.value)


def test_parameters_of_a_refitted_functional_are_not_taken_for_another() -> None:
    with pytest.raises(UsageError, match="ωB97X-D3"):
        named_functional(told("ωB97X"))


def test_parameters_of_another_functional_than_the_heads_are_told() -> None:
    calc = told("PBE")
    calc.implemented_properties = ["energy"]
    with (
        pytest.warns(JMPWarning, match="are by PBE, and D3 has the parameters of 'b3lyp'"),
        suppress(UsageError),  # where dftd3 is not installed
    ):
        with_dispersion(calc, functional="B3LYP")


@pytest.mark.capability("A15")
@pytest.mark.parametrize(
    ("functional", "dispersion", "level"),
    [
        ("PBE", "D3(BJ)", ""),
        ("RPBE", "D3", ""),
        ("wB97X-V", "", "wB97X-V/cc-pVTZ"),
        ("GFN2-xTB", "", ""),
        ("MP2", "none", "MP2/def2-TZVP"),
        ("", "", "PBE-D3(BJ) (VASP)"),
    ],
)
def test_dispersion_is_never_counted_twice(functional: str, dispersion: str, level: str) -> None:
    with pytest.raises(ModelError, match="count it twice"):
        refuse_twice(told(functional, dispersion, level))


def test_labels_without_dispersion_are_accepted() -> None:
    for functional, level in (("PBE", "PBE (VASP)"), ("wB97X", "wB97X/6-31G(d), by ANI-2x"), ("", "PBE")):
        refuse_twice(told(functional, "none", level))


def test_a_head_that_is_not_chosen_yet_is_asked_for() -> None:
    calc = told("PBE")
    calc.info.head = None
    with pytest.raises(UsageError, match="two default heads"):
        named_functional(calc)


@pytest.mark.skipif(find_spec("dftd3") is not None, reason="the package is here")
def test_without_the_package_it_says_how_to_get_it() -> None:
    with pytest.raises(UsageError, match="dftd3 is not installed") as caught:
        with_dispersion(EMT(), functional="pbe")
    assert "jmp-calc[dispersion]" in str(caught.value)


@needs_dftd3
def test_an_unknown_functional_says_what_to_give() -> None:
    with pytest.raises(UsageError, match="no parameters for the functional 'lda'") as caught:
        with_dispersion(EMT(), functional="LDA")
    assert "b3lyp" in str(caught.value)


@needs_dftd3
@pytest.mark.capability("A15")
def test_two_atoms_attract_as_the_sixth_power() -> None:
    energies = []
    for distance in (14.0, 28.0):
        atoms = Atoms("Ar2", [[0, 0, 0], [0, 0, distance]])
        atoms.calc = with_dispersion(Nothing(), functional="pbe")
        energies.append(atoms.get_potential_energy())
    assert energies[0] < 0
    assert energies[0] / energies[1] == pytest.approx(64, rel=0.05)


def crystal() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=2)
    strain = np.eye(3) + [[0.01, 0.02, 0.0], [0.02, -0.01, 0.01], [0.0, 0.01, 0.0]]
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.calc = with_dispersion(EMT(), functional="pbe")
    return atoms


@needs_dftd3
@pytest.mark.capability("A15")
def test_forces_and_stress_are_derivatives_of_the_sum() -> None:
    atoms = crystal()
    forces, stress, volume = atoms.get_forces(), atoms.get_stress(), atoms.get_volume()
    step = 1e-4
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[1, 2] += sign * step
        moved.calc = atoms.calc
        energies.append(moved.get_potential_energy())
    assert forces[1, 2] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=1e-5)
    # Pairs that end all at once would miss this by 1e-5.
    shear = np.zeros((3, 3))
    shear[0, 1] = shear[1, 0] = 0.5
    energies = []
    for sign in (1, -1):
        bent = atoms.copy()
        bent.set_cell(atoms.cell.array @ (np.eye(3) + sign * step * shear), scale_atoms=True)
        bent.calc = atoms.calc
        energies.append(bent.get_potential_energy())
    assert stress[5] == pytest.approx((energies[0] - energies[1]) / (2 * step * volume), abs=1e-7)


@needs_dftd3
def test_the_energy_is_that_of_the_package_but_for_the_smooth_end() -> None:
    from dftd3.interface import DispersionModel, RationalDampingParam

    atoms = crystal()
    model = DispersionModel(
        atoms.numbers, atoms.positions / Bohr, atoms.cell.array / Bohr, np.array(atoms.pbc)
    )
    bare = float(model.get_dispersion(RationalDampingParam(method="pbe"), grad=False)["energy"]) * Hartree
    atoms.calc = with_dispersion(Nothing(), functional="PBE")
    assert atoms.get_potential_energy() == pytest.approx(bare, abs=1e-4)


@needs_dftd3
@pytest.mark.capability("A15")
def test_every_property_is_the_sum() -> None:
    atoms = crystal()
    plain = atoms.copy()
    plain.calc = EMT()
    alone = atoms.copy()
    alone.calc = with_dispersion(Nothing(), functional="pbe")
    for name in ("energy", "free_energy", "energies", "forces", "stress"):
        both = atoms.calc.get_property(name, atoms)
        parts = plain.calc.get_property(name, plain), alone.calc.get_property(name, alone)
        assert np.allclose(both, parts[0] + parts[1], rtol=0, atol=1e-10), name
    assert atoms.calc.get_property("energies", atoms).sum() == pytest.approx(atoms.get_potential_energy())
    assert alone.calc.get_property("energies", alone).sum() == pytest.approx(alone.get_potential_energy())
    assert list(alone.get_dipole_moment()) == [1, 2, 3]  # what dispersion has no part of
    assert alone.get_potential_energy() < -0.1


@needs_dftd3
def test_atoms_outside_of_the_cell_are_the_same_crystal() -> None:
    atoms = crystal()
    away = atoms.copy()
    away.positions += np.array([[3, -2, 0], [0, 5, 1], [0, 0, -7], [1, 1, 1]]) @ atoms.cell.array
    away.calc = atoms.calc
    assert away.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-9)


@needs_dftd3
def test_slabs_molecules_and_what_has_no_stress() -> None:
    water = molecule("H2O")
    water.calc = with_dispersion(EMT(), functional="pbe")
    assert np.isfinite(water.get_forces()).all()
    with pytest.raises(PropertyNotImplementedError):
        water.get_stress()
    layer = bulk("Cu", cubic=True)
    layer.pbc, layer.calc = (True, True, False), with_dispersion(Nothing(), functional="pbe")
    whole = layer.get_potential_energy()
    layer.pbc = True
    assert layer.get_potential_energy() < whole < 0


@needs_dftd3
def test_copies_and_pickles_compute_the_same() -> None:
    atoms = crystal()
    twin = atoms.copy()
    twin.calc = pickle.loads(pickle.dumps(atoms.calc))
    assert twin.get_potential_energy() == atoms.get_potential_energy()
    with pytest.raises(ModelError, match="already"):
        with_dispersion(atoms.calc, functional="pbe")


@needs_dftd3
@pytest.mark.capability("A15")
def test_batches_and_hessian_of_a_jmp_model_are_sums(calc: JMPCalculator) -> None:
    both = with_dispersion(calc)  # a head of PBE
    assert both.dispersion == "D3(BJ), pbe" and both.info.head == calc.info.head
    ethanol, water = molecule("CH3CH2OH"), molecule("H2O")
    results = both.batch([ethanol, water])
    for atoms, one in zip((ethanol, water), results, strict=True):
        single = atoms.copy()
        single.calc = both
        assert single.get_potential_energy() == pytest.approx(one["energy"], abs=1e-6)
        assert np.allclose(single.get_forces(), one["forces"], atol=1e-5)
    hessian, own = both.get_hessian(water), calc.get_hessian(water)
    alone = with_dispersion(Nothing(), functional="pbe")
    step, columns = 1e-3, []
    for atom in range(3):
        for axis in range(3):
            pair = []
            for sign in (1, -1):
                moved = water.copy()
                moved.positions[atom, axis] += sign * step
                moved.calc = alone
                pair.append(moved.get_forces().ravel())
            columns.append((pair[1] - pair[0]) / (2 * step))
    assert np.allclose(hessian.square - own.square, np.array(columns), atol=1e-4)
    part = both.get_hessian(water, [2, 0])
    assert np.allclose(part.matrix, hessian.matrix[[2, 0]][:, :, [2, 0]], atol=1e-5)


@needs_dftd3
def test_a_run_with_dispersion_is_another_run() -> None:
    atoms = crystal()
    words = model_fingerprint(atoms)
    atoms.calc = EMT()
    assert "D3(BJ), pbe" in words and words != model_fingerprint(atoms)
