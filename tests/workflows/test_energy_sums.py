"""Energies of two heads, models or calculators are refused in one sum, whatever the structures are."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import SumCalculator

from jmp_calc import JMPCalculator
from jmp_calc.errors import JMPWarning, ModelError, UsageError
from jmp_calc.model.config import HeadConfig, Theory
from jmp_calc.workflows.energy_sums import check_one_method, warn_of_mixed_u


def with_calc(atoms: Atoms, calc: object) -> Atoms:
    atoms.calc = calc
    return atoms


def test_one_head_for_all_parts_is_right(by_kind: Path) -> None:
    """In one calculator or in several, and in any precision."""
    calc = JMPCalculator(by_kind, head="materials", device="cpu")
    other = JMPCalculator(by_kind, head="materials", device="cpu", dtype="float64")
    parts = {
        "solid": with_calc(bulk("NaCl", "rocksalt", a=5.6), calc),
        "molecule": with_calc(molecule("NaCl"), calc),
        "atom": with_calc(Atoms("Na"), other),
    }
    check_one_method(parts)
    check_one_method({})


def test_molecules_and_crystals_under_their_defaults_are_refused(by_kind: Path) -> None:
    solid, gas = bulk("NaCl", "rocksalt", a=5.6), molecule("H2O")
    parts = {
        "slab": with_calc(solid, JMPCalculator(by_kind, device="cpu")),
        "water": with_calc(gas, JMPCalculator(by_kind, device="cpu")),
    }
    with pytest.raises(
        UsageError,
        match=r"slab \(tiny, head materials, PBE\) and water \(tiny, head organic, ωB97X/6-31G\(d\)\)",
    ) as found:
        check_one_method(parts)
    assert "--head NAME" in str(found.value)
    gas.calc = solid.calc
    with pytest.raises(ModelError, match="this structure, H2O, is a molecule"):
        check_one_method(parts)


def test_other_weights_with_a_head_of_the_same_name_are_refused(make_model) -> None:
    one, other = make_model(default="materials"), make_model(default="materials", seed=7)
    parts = {
        "product": with_calc(molecule("H2O"), JMPCalculator(one, device="cpu")),
        "reactant": with_calc(molecule("H2"), JMPCalculator(other, device="cpu")),
    }
    with pytest.raises(UsageError, match="product .* and reactant .* different zeros"):
        check_one_method(parts)


def test_other_calculators_are_told_by_their_class() -> None:
    copper = {"a": with_calc(bulk("Cu"), EMT()), "b": with_calc(Atoms("Cu"), EMT())}
    check_one_method(copper)
    with pytest.raises(UsageError, match=r"b \(EMT\) and c \(LennardJones\)"):
        check_one_method({**copper, "c": with_calc(Atoms("Cu"), LennardJones())})


class Summed(EMT):
    """A calculator that says what is added to it, as one with dispersion does."""

    dispersion = "D3(BJ), pbe"


def test_energies_with_and_without_dispersion_are_refused() -> None:
    parts = {"slab": with_calc(bulk("Cu"), Summed()), "gas": with_calc(Atoms("Cu"), EMT())}
    with pytest.raises(UsageError, match=r"slab \(Summed with D3\(BJ\), pbe\) and gas \(EMT\)"):
        check_one_method(parts)


def told(hubbard_u: str) -> Atoms:
    """An atom whose calculator says how the labels of its head were made."""
    head = HeadConfig("pbe-u", theory=Theory("PBE", hubbard_u=hubbard_u))
    info = SimpleNamespace(name="model", head="pbe-u", heads=(head,))
    atoms = Atoms("Fe")
    atoms.calc = SimpleNamespace(info=info)
    return atoms


def test_labels_with_hubbard_u_are_told_in_energies_of_formation() -> None:
    with pytest.warns(JMPWarning, match=r"pbe-u of model have \+U \(Materials Project\)"):
        warn_of_mixed_u({"oxide": told("Materials Project"), "iron": told("Materials Project")})


@pytest.mark.parametrize("hubbard_u", ["", "none"])
def test_labels_without_hubbard_u_are_not_told(hubbard_u: str, recwarn: pytest.WarningsRecorder) -> None:
    warn_of_mixed_u({"oxide": told(hubbard_u), "copper": with_calc(bulk("Cu"), EMT())})
    assert not list(recwarn)


def test_a_part_without_calculator_is_named() -> None:
    with pytest.raises(UsageError, match="structure of adsorbate has no calculator"):
        check_one_method({"adsorbate": molecule("CO")})


def test_other_parameters_of_a_calculator_are_refused() -> None:
    parts = {
        "solid": with_calc(bulk("Ar", a=5.3), LennardJones(epsilon=0.01, sigma=3.4)),
        "gas": with_calc(Atoms("Ar"), LennardJones(epsilon=0.01, sigma=3.4)),
    }
    check_one_method(parts)
    parts["gas"].calc = LennardJones(epsilon=0.02, sigma=3.4)
    with pytest.raises(UsageError, match=r"gas \(LennardJones, other weights or parameters\)"):
        check_one_method(parts)
    parts["solid"].calc, parts["gas"].calc = (
        SumCalculator([LennardJones(sigma=sigma), EMT()]) for sigma in (3.4, 3.5)
    )
    with pytest.raises(UsageError, match=r"gas \(SumCalculator, other weights or parameters\)"):
        check_one_method(parts)


def test_meshes_and_charges_may_differ_between_the_parts() -> None:
    class Dft(Calculator):
        implemented_properties = ("energy",)

    parts = {
        "slab": with_calc(bulk("Cu"), Dft(xc="PBE", kpts=(4, 4, 1))),
        "ion": with_calc(Atoms("Cu"), Dft(xc="PBE", kpts=(1, 1, 1), charge=1, txt="ion.txt")),
    }
    check_one_method(parts)
    parts["ion"].calc = Dft(xc="RPBE", kpts=(1, 1, 1))
    with pytest.raises(UsageError, match="different zeros"):
        check_one_method(parts)
