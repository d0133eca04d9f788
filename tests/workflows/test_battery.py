"""The physics battery: sound potentials pass it, each fault is found by the check that looks for it."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from jmp_calc import JMPCalculator
from jmp_calc.errors import ModelError, UsageError
from jmp_calc.workflows.battery.check import check
from jmp_calc.workflows.battery.items import ITEMS
from jmp_calc.workflows.battery.settings import CHECKS, CheckSettings
from jmp_calc.workflows.battery.verdict import larger

QUICK = ("forces", "stress", "path", "translation", "rotation", "reflection", "permutation", "lattice")


def verdicts(calc: Calculator, *only: str) -> dict[str, str]:
    return {verdict.name: verdict.status for verdict in check(calc, only=only).verdicts}


@pytest.mark.capability("A1")
def test_effective_medium_theory_passes() -> None:
    result = check(EMT(), only=(*QUICK, "supercell", "fragments", "crystals", "determinism"))
    assert not result.failed, [str(verdict) for verdict in result.failed]
    assert result.passed and "pass" in repr(result)


class Faulty(EMT):
    """Effective medium theory with one fault."""

    fault = ""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)) -> None:
        super().calculate(atoms, properties, list(system_changes))
        if self.fault == "scaled forces":
            self.results["forces"] = 1.01 * self.results["forces"]
        elif self.fault == "wind":  # the gradient of no energy
            x, y, z = atoms.positions.T
            self.results["forces"] = self.results["forces"] + 0.1 * np.stack([-y, x, 0 * z], axis=1)
        elif self.fault == "place":
            energy = 0.01 * float(np.sin(atoms.positions[:, 0]).sum())
            self.results["energy"] = self.results["energy"] + energy
        elif self.fault == "order":
            self.results["energy"] = self.results["energy"] + 0.01 * float(atoms.numbers[0])
        elif self.fault == "not a number" and len(atoms) > 9:
            self.results["energy"] = float("nan")
        elif self.fault == "pressure":
            self.results["stress"] = -self.results["stress"]


class Unpickled(LennardJones):
    """Without forces where it has been in a pickle."""

    def __setstate__(self, state: dict) -> None:
        self.__dict__ |= state | {"broken": True}

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)) -> None:
        super().calculate(atoms, ["energy", "forces"], list(system_changes))
        if getattr(self, "broken", False):
            self.results["forces"] = np.full_like(self.results["forces"], np.nan)


def test_forces_that_are_no_number_beside_a_right_energy_fail() -> None:
    assert verdicts(Unpickled(), "reload") == {"reload": "fail"}
    assert np.isnan(larger(0.0, np.nan)) and np.isnan(larger(np.nan, 0.0)) and larger(1.0, 2.0) == 2.0


@pytest.mark.parametrize(
    ("fault", "check_name"),
    [
        ("scaled forces", "forces"),
        ("wind", "path"),
        ("place", "translation"),
        ("order", "permutation"),
        ("not a number", "fuzz"),
        ("pressure", "stress"),
    ],
)
def test_each_fault_is_found(fault: str, check_name: str) -> None:
    assert verdicts(Faulty(fault), check_name) == {check_name: "fail"}
    assert verdicts(Faulty(""), check_name) == {check_name: "pass"}


class CutPairs(Calculator):
    """A spring that ends at 5 Å without being zero there: the energy jumps."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)) -> None:
        super().calculate(atoms, properties, system_changes)
        vectors = atoms.get_all_distances(vector=True)
        lengths = np.linalg.norm(vectors, axis=2)
        inside = (lengths < self.parameters["end"]) & (lengths > 0)
        values = np.where(inside, np.exp(-lengths), 0.0)
        unit = vectors / np.where(lengths > 0, lengths, 1.0)[..., None]
        self.results = {"energy": values.sum() / 2, "forces": -(values[..., None] * unit).sum(axis=1)}


def test_a_jump_at_an_unknown_cutoff_is_found_and_placed() -> None:
    (verdict,) = check(CutPairs(end=5.0), only=["scans"]).verdicts
    assert verdict.status == "fail"
    assert verdict.measured == pytest.approx(np.exp(-5.0), rel=0.5)
    (whole,) = check(CutPairs(end=1e9), only=["scans"]).verdicts
    assert whole.status == "pass", str(whole)


def test_what_a_calculator_cannot_is_not_applicable_with_the_reason() -> None:
    result = check(EMT(), only=["batch", "precision", "compile", "determinism"])
    assert {v.name: v.status for v in result.verdicts} == {
        "batch": "not applicable",
        "precision": "not applicable",
        "compile": "not applicable",
        "determinism": "pass",
    }
    assert all(v.note for v in result.verdicts if v.status == "not applicable")


def test_a_calculator_that_breaks_fails_in_its_own_words() -> None:
    class Broken(EMT):
        def get_property(self, name, atoms=None, allow_calculation=True):
            if len(atoms) > 20:
                raise RuntimeError("no more than 20 atoms")
            return super().get_property(name, atoms, allow_calculation)

    (verdict,) = check(Broken(), only=["fragments"]).verdicts
    assert verdict.status == "fail" and "no more than 20 atoms" in verdict.note


def test_a_calculator_that_computes_nothing_is_refused() -> None:
    class Refusing(EMT):
        def get_property(self, name, atoms=None, allow_calculation=True):
            raise RuntimeError("the server is down")

    with pytest.raises(UsageError, match="none of the structures.*the server is down"):
        check(Refusing())


def test_checks_are_named_once_and_in_order() -> None:
    assert tuple(item.name for item in ITEMS) == CHECKS
    assert CheckSettings(only=("scans", "forces")).chosen == ("forces", "scans")
    assert "compile" not in CheckSettings().chosen
    for wrong in ({"only": ("speed",)}, {"precision": "float16"}, {"seed": -1}):
        with pytest.raises(UsageError):
            CheckSettings(**wrong)


def test_the_report_is_one_file(tmp_path: Path) -> None:
    result = check(Faulty("scaled forces"), only=["forces", "rotation"], out=tmp_path)
    text = (tmp_path / "check.html").read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>") and "<script" not in text
    assert set(re.findall(r"https?://[\w.]+", text)) == {"http://www.w3.org"}  # the name space of SVG
    assert ElementTree.fromstring((tmp_path / "check.svg").read_text(encoding="utf-8")).tag.endswith("svg")
    assert 'class="fail"' in text and 'class="pass"' in text
    with pytest.raises(ModelError, match="1 of 2 checks failed: forces") as caught:
        result.require_pass()
    assert caught.value.exit_code == 5


def test_a_jmp_model_is_checked_with_its_own_choices(calc: JMPCalculator) -> None:
    before = calc.results
    result = check(calc, only=["batch", "skin", "determinism", "reload", "permutation"])
    assert not result.failed, [str(verdict) for verdict in result.failed]
    assert calc.results is before


@pytest.mark.parametrize(("policy", "status"), [("official_path", "fail"), ("calc", "pass")])
def test_published_graphs_jump_and_ours_do_not(
    request: pytest.FixtureRequest, policy: str, status: str
) -> None:
    """Neighbours that change rank as an atom leaves a crowd."""
    given = request.getfixturevalue(policy)
    model = given.info.path if policy == "calc" else given
    (verdict,) = check(JMPCalculator(model, dtype="float64"), only=["scans"]).verdicts
    assert verdict.status == status, str(verdict)


def test_each_kind_of_structure_has_its_head(by_kind) -> None:
    result = check(JMPCalculator(by_kind), only=["determinism"])
    assert result.passed and len(result.heads) == 2


def test_nothing_of_the_callers_changes() -> None:
    calc, atoms = EMT(), Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]])
    atoms.calc = calc
    energy = atoms.get_potential_energy()
    check(calc, only=["rotation"])
    assert atoms.get_potential_energy() == energy
