"""Many relaxations at once are those of one after the other, whatever ends, fails or is killed among them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixSymmetry

from jmp_calc.calculator import JMPCalculator
from jmp_calc.errors import BadStructureError, NotConvergedError, UsageError
from jmp_calc.machine.signals import Interrupted
from jmp_calc.workflows.relax import relax
from jmp_calc.workflows.relax_each import relax_each
from jmp_calc.workflows.relax_many import relax_many
from jmp_calc.workflows.relax_result import RelaxResult
from jmp_calc.workflows.relax_settings import RelaxSettings


def metals() -> list[Atoms]:
    """Five rattled crystals of one to four atoms, and a molecule that is not periodic."""
    found = [bulk(name, "fcc", a=length, cubic=True) for name, length in (("Cu", 3.7), ("Al", 4.1))]
    found += [bulk(name, "fcc", a=length) for name, length in (("Ni", 3.6), ("Ag", 4.0), ("Au", 4.2))]
    found.append(molecule("CH3OH"))
    for number, atoms in enumerate(found):
        atoms.rattle(0.05, seed=number)
    return found


@pytest.mark.capability("B9", "C2")
@pytest.mark.parametrize("cell", ["none", "full"])
@pytest.mark.parametrize("optimizer", ["BFGS", "FIRE"])
def test_the_numbers_are_those_of_one_by_one(optimizer: str, cell: str) -> None:
    crystals = metals()[:3]
    many = relax_many(crystals, calc=EMT(), fmax=0.03, optimizer=optimizer, cell=cell, together=2)
    for atoms, row in zip(crystals, many.rows, strict=True):
        alone = relax(atoms, calc=EMT(), fmax=0.03, optimizer=optimizer, cell=cell)
        assert row.outcome.status == "ok" and row.outcome.values["n_steps"] == alone.n_steps
        assert row.outcome.values["energy_ev"] == pytest.approx(alone.energy_ev, abs=1e-9)
        assert row.outcome.atoms is not None
        np.testing.assert_allclose(row.outcome.atoms.positions, alone.atoms.positions, atol=1e-8)
        np.testing.assert_allclose(row.outcome.atoms.cell.array, alone.atoms.cell.array, atol=1e-8)


@pytest.mark.capability("B9")
def test_a_batched_network_gives_the_numbers_of_single_calls(calc: JMPCalculator) -> None:
    start = [molecule(name) for name in ("H2O", "CH4", "NH3")]
    for number, atoms in enumerate(start):
        atoms.rattle(0.03, seed=number)
    many = relax_many(start, calc=calc, fmax=0.05, steps=12, guard=False)
    for atoms, row in zip(start, many.rows, strict=True):
        alone = relax(atoms, calc=calc, fmax=0.05, steps=12, guard=False)
        assert row.outcome.values["n_steps"] == alone.n_steps
        assert row.outcome.values["energy_ev"] == pytest.approx(alone.energy_ev, abs=1e-6)


def test_batches_are_refilled_where_one_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    from jmp_calc.workflows import relax_each as module

    sizes: list[int] = []
    answer = module.answer
    monkeypatch.setattr(module, "answer", lambda waiting: (sizes.append(len(waiting)), answer(waiting)))
    found = metals()[:5]
    found[2] = bulk("Ni", "fcc", a=3.52)  # no forces: it ends at once
    many = relax_many(found, calc=EMT(), fmax=0.05, together=2)
    assert many.counts == {"ok": 5, "not-converged": 0, "failed": 0}
    assert max(sizes) == 2
    last = next(i for i, size in enumerate(sizes) if size == 1)
    assert set(sizes[:last]) == {2} and set(sizes[last:]) == {1}


@pytest.mark.capability("C4", "C5")
def test_constraints_and_symmetry_hold_in_each() -> None:
    fixed, cubic = bulk("Cu", "fcc", a=3.7, cubic=True), bulk("Al", "fcc", a=4.2)
    fixed.rattle(0.1, seed=3)
    fixed.set_constraint(FixAtoms([0]))
    many = relax_many([fixed, cubic], calc=EMT(), cell="full", fix_symmetry=True, fmax=0.02)
    kept = many.rows[1].outcome
    assert kept.values["space_group"] == kept.values["space_group_start"] == "Fm-3m (225)"
    only = relax_many([fixed], calc=EMT(), fmax=0.02).rows[0].outcome.atoms
    assert only is not None and len(only.constraints) == 1
    np.testing.assert_array_equal(only.positions[0], fixed.positions[0])
    cubic.set_constraint(FixSymmetry(cubic))
    assert relax_many([cubic], calc=EMT(), cell="full", fmax=0.02).counts["ok"] == 1


def test_failures_are_told_by_name_and_the_others_are_finished(tmp_path: Path) -> None:
    found = metals()[:2]
    nan = molecule("H2O")
    nan.positions[0] = np.nan
    many = relax_many([found[0], nan, bulk("Si"), found[1]], calc=EMT(), fmax=0.05, out=tmp_path)
    assert [row.outcome.status for row in many.rows] == ["ok", "failed", "failed", "ok"]
    assert "finite" in str(many.rows[1].outcome.error) and "Si" in str(many.rows[2].outcome.error)
    with pytest.raises(NotConvergedError, match="2 of 4 structures failed or did not converge") as caught:
        many.require_converged(allow_unconverged=True)
    assert "structure 1" in str(caught.value)
    table = (tmp_path / "relax.csv").read_text().splitlines()
    assert len(table) == 5 and table[2].startswith("1,,1,H2O,3,failed")
    assert len(ase.io.read(tmp_path / "relaxed.extxyz", ":")) == 2
    few = relax_many(found, calc=EMT(), steps=1, fmax=1e-4)
    assert few.counts["not-converged"] == 2
    few.require_converged(allow_unconverged=True)


def test_an_error_of_one_structure_is_its_outcome() -> None:
    nan = bulk("Cu")
    nan.positions[0] = np.nan
    ended = {
        one.number: one.outcome
        for one in relax_each(enumerate([nan, metals()[0]]), RelaxSettings(), calc=EMT())
    }
    assert isinstance(ended[0], BadStructureError) and isinstance(ended[1], RelaxResult)


class Counting(EMT):
    """EMT that counts its evaluations, and is interrupted at one of them."""

    stop_at: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def calculate(self, *args: object) -> None:
        self.count += 1
        if self.count == self.stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        super().calculate(*args)


def test_what_an_interrupted_run_has_done_is_kept_and_not_computed_again(tmp_path: Path) -> None:
    start = metals()[:5]
    whole = Counting()
    wanted = relax_many(start, calc=whole, fmax=0.03, together=2, out=tmp_path / "whole")
    stopped = Counting()
    stopped.stop_at = whole.count - 4
    with pytest.raises(Interrupted, match="of 5 structures were done; --resume goes on"):
        relax_many(start, calc=stopped, fmax=0.03, together=2, out=tmp_path / "killed")
    with pytest.raises(UsageError, match="resume"):
        relax_many(start, calc=EMT(), fmax=0.03, together=2, out=tmp_path / "killed")
    rest = Counting()
    resumed = relax_many(start, calc=rest, fmax=0.03, together=2, out=tmp_path / "killed", resume=True)
    assert 0 < rest.count < whole.count
    for one, other in zip(wanted.rows, resumed.rows, strict=True):
        assert one.outcome.values["n_steps"] == other.outcome.values["n_steps"]
        assert one.outcome.values["energy_ev"] == pytest.approx(other.outcome.values["energy_ev"], abs=1e-9)
    again = Counting()
    relax_many(start, calc=again, fmax=0.03, together=2, out=tmp_path / "killed", resume=True)
    assert again.count == 0


def test_results_of_other_settings_are_not_taken(tmp_path: Path) -> None:
    start = metals()[:1]
    relax_many(start, calc=EMT(), fmax=0.05, out=tmp_path)
    with pytest.raises(UsageError, match=r"settings\.fmax was 0\.05, now it is 0\.01"):
        relax_many(start, calc=EMT(), fmax=0.01, out=tmp_path, resume=True)


def test_a_line_cut_short_by_a_kill_is_computed_again(tmp_path: Path) -> None:
    start = metals()[:2]
    first = relax_many(start, calc=Counting(), fmax=0.05, out=tmp_path)
    journal = tmp_path / "relax.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-40])
    counting = Counting()
    again = relax_many(start, calc=counting, fmax=0.05, out=tmp_path, resume=True)
    assert counting.count > 0
    for one, other in zip(first.rows, again.rows, strict=True):
        assert one.outcome.values["n_steps"] == other.outcome.values["n_steps"]
        assert one.outcome.values["energy_ev"] == pytest.approx(other.outcome.values["energy_ev"], abs=1e-9)
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    assert len({record["key"] for record in records[1:]}) == len(records) - 1 == 2


def test_equal_structures_are_computed_once() -> None:
    counting, atoms = Counting(), metals()[0]
    one = Counting()
    relax_many([atoms], calc=one, fmax=0.05)
    twice = relax_many([atoms, atoms.copy()], calc=counting, fmax=0.05)
    assert counting.count == one.count and len(twice.rows) == 2
    assert twice.rows[0].to_dict() | {"number": 1, "frame": 1} == twice.rows[1].to_dict()


def test_equal_structures_keep_their_own_names() -> None:
    one, other = metals()[0], metals()[0]
    one.info["name"], other.info["other"] = "first", "second"
    found = relax_many([one, other], calc=EMT(), fmax=0.05).rows
    labels = [{n: v for n, v in row.outcome.atoms.info.items() if n in ("name", "other")} for row in found]
    assert labels == [{"name": "first"}, {"other": "second"}]


def test_a_resumed_run_writes_the_labels_and_constraints_of_an_uninterrupted_one(tmp_path: Path) -> None:
    one, other = metals()[:2]
    one.info |= {"id": np.int64(17), "arr": np.arange(3.0), "path": [1, 2], "d": {"a": 1}, "ok": np.True_}
    one.info["weight"] = np.float64(0.5)
    one.set_array("label", np.array(["Cu1", "Cu2", "Cu3", "Cu4"]))
    one.set_constraint(FixAtoms([0]))
    other.set_constraint(FixSymmetry(bulk("Al", "fcc", a=4.1, cubic=True)))
    relax_many([one, other], calc=EMT(), fmax=0.05, out=tmp_path)
    path = tmp_path / "relaxed.extxyz"
    before = path.read_bytes()
    path.unlink()
    again = relax_many([one, other], calc=EMT(), fmax=0.05, out=tmp_path, resume=True)
    assert path.read_bytes() == before
    assert {"id", "arr", "path", "d", "ok", "weight"} <= set(ase.io.read(path, 0).info)
    assert [type(c) for c in again.rows[0].outcome.atoms.constraints] == [FixAtoms]


def test_nothing_to_relax_is_an_error() -> None:
    with pytest.raises(UsageError, match="No structure"):
        relax_many([], calc=EMT())
    with pytest.raises(UsageError, match="no calculator"):
        relax_many([bulk("Cu")])
    with pytest.raises(UsageError, match="At least one"):
        relax_many([bulk("Cu")], calc=EMT(), together=0)


class Broken(Calculator):
    """Raises what no calculator should."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def calculate(self, *_: object) -> None:
        raise RuntimeError("SCF\ndid not converge")


def test_errors_of_any_calculator_are_kept_in_a_line() -> None:
    many = relax_many([bulk("Cu")], calc=Broken())
    assert many.rows[0].outcome.error == "RuntimeError: SCF"
