"""Without a named head the first structure decides, for good: molecules and periodic structures have energies
that have nothing in common."""

from __future__ import annotations

import copy
import logging
import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from jmp_calc import JMPCalculator, estimate, relax
from jmp_calc.errors import JMPWarning, ModelError, UsageError
from jmp_calc.inference.head_choice import is_in_vacuum, kind_of
from jmp_calc.training.evaluate import evaluate
from jmp_calc.zoo.container import load_model, save_model


@pytest.fixture
def calc(by_kind: Path) -> JMPCalculator:
    return JMPCalculator(by_kind, device="cpu", dtype="float64")


def water() -> Atoms:
    return molecule("H2O")


def salt() -> Atoms:
    return bulk("NaCl", "rocksalt", a=5.6)


def energy(path: Path, atoms: Atoms, head: str) -> float:
    return float(JMPCalculator(path, head=head, device="cpu", dtype="float64").get_potential_energy(atoms))


@pytest.mark.parametrize("pbc", [True, (True, False, False), (False, False, True), (True, True, False)])
def test_any_periodic_direction_counts_as_periodic(pbc: object) -> None:
    assert kind_of(Atoms("H", cell=[9, 9, 9], pbc=pbc).pbc) == "periodic"
    assert kind_of(Atoms("H", cell=[9, 9, 9], pbc=False).pbc) == "molecules"


@pytest.mark.parametrize(("atoms", "head"), [(water(), "organic"), (salt(), "materials")])
def test_the_first_structure_decides(calc: JMPCalculator, by_kind: Path, atoms: Atoms, head: str) -> None:
    assert calc.info.head is None
    assert "organic for molecules, materials for periodic structures" in str(calc.info)
    assert calc.get_potential_energy(atoms) == pytest.approx(energy(by_kind, atoms, head), abs=1e-12)
    assert calc.info.head == head
    assert calc.todict()["head"] == head
    assert f"head='{head}'" in repr(calc)
    assert atoms.get_chemical_formula() in str(calc.info)


def test_it_is_said_once(calc: JMPCalculator, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="jmp_calc"):
        for _ in range(3):
            moved = water()
            moved.rattle(0.01)
            calc.get_potential_energy(moved)
    (record,) = caplog.records
    assert "Head 'organic'" in record.getMessage()
    assert "default for molecules" in record.getMessage()
    assert "head='NAME' (--head NAME) chooses another" in record.getMessage()


def test_a_structure_of_the_other_kind_is_an_error_ever_after(calc: JMPCalculator) -> None:
    calc.get_potential_energy(water())
    for _ in range(2):
        with pytest.raises(
            ModelError, match=r"'organic'.*first structure, H2O; this structure, ClNa, is"
        ) as caught:
            calc.get_forces(salt())
        assert "'materials'" in str(caught.value)
        assert "head='NAME' (--head NAME)" in str(caught.value)
    assert np.isfinite(calc.get_forces(water())).all()
    other = JMPCalculator(calc._settings.model, device="cpu")
    other.get_forces(salt())
    with pytest.raises(ModelError, match="this structure, H2O, is a molecule"):
        other.get_forces(water())


def test_a_named_head_computes_both_kinds(by_kind: Path) -> None:
    calc = JMPCalculator(by_kind, head="materials", device="cpu")
    calc.get_forces(salt())
    calc.get_forces(water())
    assert calc.info.head_choice == ""


def test_one_default_for_all_computes_both_kinds(make_model) -> None:
    calc = JMPCalculator(make_model(default="materials"), device="cpu")
    calc.get_forces(salt())
    calc.get_forces(water())
    assert calc.info.head_choice == ""


def test_batches_follow_the_rule(calc: JMPCalculator) -> None:
    with pytest.raises(ModelError, match=r"is periodic.*structure 1"):
        calc.batch([water(), salt()])
    assert calc.info.head == "organic"
    calc.batch([water(), molecule("CH4")])
    with pytest.raises(ModelError, match="structure 0"):
        calc.batch(salt())


def test_a_structure_that_is_refused_decides_nothing(calc: JMPCalculator) -> None:
    with pytest.raises(ModelError, match="not trained on Fe"):
        calc.get_potential_energy(Atoms("Fe"))
    broken = water()
    broken.positions[0] = np.nan
    with pytest.raises(Exception, match="finite"):
        calc.get_potential_energy(broken)
    with pytest.raises(Exception, match="finite"):
        calc.decide_head(broken)
    assert calc.info.head is None
    calc.get_potential_energy(salt())
    assert calc.info.head == "materials"


def test_pickles_and_copies_keep_the_choice(calc: JMPCalculator) -> None:
    calc.get_potential_energy(water())
    for twin in (pickle.loads(pickle.dumps(calc)), copy.copy(calc), copy.deepcopy(calc)):
        assert twin.info.head == "organic"
        with pytest.raises(ModelError, match="first structure, H2O"):
            twin.get_potential_energy(salt())
        again = pickle.loads(pickle.dumps(twin))
        assert again.info == calc.info


def test_copies_of_an_undecided_calculator_decide_for_themselves(calc: JMPCalculator) -> None:
    twin, other = copy.copy(calc), pickle.loads(pickle.dumps(calc))
    calc.get_potential_energy(water())
    twin.get_potential_energy(salt())
    assert (calc.info.head, twin.info.head, other.info.head) == ("organic", "materials", None)


def test_descriptors_need_no_head_and_decide_for_none(calc: JMPCalculator) -> None:
    """They are the same for all heads, so that structures of both kinds can be compared."""
    found = calc.descriptors([water(), salt()])
    assert len(found.formulas) == 2
    assert calc.info.head is None


def test_a_molecule_in_a_box_is_told_how_to_choose(calc: JMPCalculator) -> None:
    boxed = water()
    boxed.center(vacuum=4.0)
    boxed.pbc = True
    with pytest.warns(JMPWarning, match=r"H2O has vacuum.*head='organic' \(--head organic\), or set"):
        calc.get_potential_energy(boxed)
    assert calc.info.head == "materials"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        boxed.rattle(0.01)
        calc.get_potential_energy(boxed)


def test_vacuum_is_seen_across_the_boundary_and_in_skewed_cells() -> None:
    boxed = water()
    boxed.center(vacuum=3.0)
    boxed.pbc = True
    assert is_in_vacuum(boxed)
    boxed.positions -= boxed.positions[0]  # parts of it in different images
    boxed.wrap()
    assert is_in_vacuum(boxed)
    skewed = Atoms("H2", [[0, 0, 0], [0.5, 0, 0.5]], cell=[[8, 0, 0], [4, 8, 0], [4, 4, 8]], pbc=True)
    assert is_in_vacuum(skewed)
    assert not is_in_vacuum(salt() * (3, 3, 3))
    slab = bulk("Cu", cubic=True)
    slab.center(vacuum=8.0, axis=2)
    assert not is_in_vacuum(slab)
    wire = Atoms("Cu", cell=[0, 0, 2.5], pbc=(False, False, True))
    assert not is_in_vacuum(wire)


def test_workflows_decide_for_the_calculator_that_they_are_given(calc: JMPCalculator) -> None:
    relax(water(), calc=calc, steps=1)
    assert calc.info.head == "organic"
    with pytest.raises(ModelError, match="first structure, H2O"):
        relax(salt(), calc=calc, steps=1)


def test_an_estimate_is_of_the_head_for_the_structure(by_kind: Path) -> None:
    assert estimate(water(), model=by_kind, device="cpu").head == "organic"
    assert estimate(salt(), model=by_kind, device="cpu").head == "materials"


def test_evaluation_of_labels_follows_the_rule(by_kind: Path) -> None:
    def labelled(atoms: Atoms) -> Atoms:
        from ase.calculators.singlepoint import SinglePointCalculator

        atoms.calc = SinglePointCalculator(atoms, energy=1.0)
        return atoms

    said: list[str] = []
    result = evaluate([labelled(salt())], model=str(by_kind), device="cpu", say=said.append)
    assert result.head == "materials"
    assert sum("Head 'materials'" in text for text in said) == 1
    with pytest.raises(ModelError, match=r"this structure, H2O, is a molecule.*frame 1"):
        evaluate([labelled(salt()), labelled(water())], model=str(by_kind), device="cpu")


def test_what_needs_a_head_before_a_structure_says_so(calc: JMPCalculator, tmp_path: Path) -> None:
    from jmp_calc.inference.export import export_program

    with pytest.raises(UsageError, match=r"two default heads.*--head NAME"):
        export_program(calc, tmp_path / "p.pt2")


def test_an_old_name_of_a_head_is_understood_with_a_hint(by_kind: Path) -> None:
    with pytest.warns(JMPWarning, match=r"'solids'.*is called 'materials' now: write head='materials'"):
        calc = JMPCalculator(by_kind, head="solids", device="cpu")
    assert calc.info.head == "materials"
    with pytest.raises(ModelError, match="no head 'solid'"):
        JMPCalculator(by_kind, head="solid", device="cpu")


def test_a_head_that_was_left_out_says_why(by_kind: Path, tmp_path: Path) -> None:
    """Heads with similar names, which would be proposed else, are of other methods."""
    loaded = load_model(by_kind)
    card = replace(loaded.card, notes=("The head material was left out: it has no skill.",))
    save_model(tmp_path / "m.safetensors", loaded.potential, card)
    with pytest.raises(
        ModelError, match="no head 'material'. The head material was left out: it has no skill"
    ):
        JMPCalculator(tmp_path / "m.safetensors", head="material", device="cpu")
    with pytest.raises(ModelError, match="no head 'organics'.*did you mean 'organic'"):
        JMPCalculator(tmp_path / "m.safetensors", head="organics", device="cpu")
