"""A campaign has a row for each structure, whoever computes and however often it is killed."""

from __future__ import annotations

import csv
import json
import pickle
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixSymmetry
from ase.db import connect

from jmp_calc.calculator import JMPCalculator
from jmp_calc.errors import NotConvergedError, UsageError
from jmp_calc.machine.signals import Interrupted
from jmp_calc.screening.screen import COLUMNS, ScreenResult, screen
from jmp_calc.screening.settings import ScreenSettings, Task, TaskSettings, task_settings
from jmp_calc.units import GPA_PER_EV_A3
from jmp_calc.workflows.md_settings import MDSettings
from jmp_calc.workflows.phonon.settings import PhononSettings
from jmp_calc.workflows.relax_settings import RelaxSettings
from jmp_calc.workflows.statics.elastic_settings import ElasticSettings
from jmp_calc.workflows.statics.eos import eos
from jmp_calc.workflows.statics.eos_settings import EosSettings
from tests.programs import environment, run
from tests.screening.emt_calculators import Deadly, Mortal

METALS = {"Cu": 3.7, "Al": 4.1, "Ni": 3.6, "Ag": 4.0, "Pd": 3.8, "Pt": 4.0}


def crystals(count: int = 6) -> list[Atoms]:
    """Rattled cubic cells of four atoms."""
    found = []
    for number in range(count):
        name = list(METALS)[number % len(METALS)]
        atoms = bulk(name, "fcc", a=METALS[name] + 0.01 * (number // len(METALS)), cubic=True)
        atoms.rattle(0.05, seed=number)
        found.append(atoms)
    return found


def test_labels_and_symmetry_of_the_input_survive(tmp_path: Path) -> None:
    one, other = crystals(2)
    one.info["id"] = np.int64(17)
    other.set_constraint(FixSymmetry(bulk("Al", "fcc", a=4.1, cubic=True)))
    result = screen([one, other], calc=EMT(), task="singlepoint", out=tmp_path)
    assert result.counts["ok"] == 2
    assert ase.io.read(tmp_path / "screen.extxyz", 0).info["id"] == 17
    assert screen([one, other], calc=EMT(), task="singlepoint", out=tmp_path, resume=True).counts["ok"] == 2


def table(result_or_folder: Path) -> list[dict[str, str]]:
    with open(result_or_folder / "screen.csv", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def energies(result: ScreenResult) -> list[object]:
    return [row.outcome.values.get("energy_ev") for row in result.rows]


def assert_same(rows: list[dict[str, str]], others: list[dict[str, str]]) -> None:
    """EMT keeps neighbours from the structure before: sums come in another order."""
    assert [row["number"] for row in rows] == [row["number"] for row in others]
    for row, other in zip(rows, others, strict=True):
        assert (row["status"], row["n_steps"]) == (other["status"], other["n_steps"])
        assert float(row["energy_ev"]) == pytest.approx(float(other["energy_ev"]), abs=1e-9)


def test_a_box_with_vacuum_has_no_pressure(tmp_path: Path) -> None:
    boxed = molecule("H2O", vacuum=5.0, pbc=True)
    screen([boxed, *crystals(1)], calc=EMT, task="singlepoint", out=tmp_path, plot=False)
    assert [row["pressure_gpa"] != "" for row in table(tmp_path)] == [False, True]


def test_a_row_for_each_in_every_file(tmp_path: Path) -> None:
    bad = molecule("H2O")
    bad.positions[1] = np.nan
    given = [*crystals(3), bad, molecule("CH4")]
    result = screen(given, calc=EMT, task="singlepoint", out=tmp_path, plot=False)
    assert result.counts == {"ok": 4, "not-converged": 0, "failed": 1}
    rows = table(tmp_path)
    assert [int(row["number"]) for row in rows] == list(range(5))
    assert rows[3]["status"] == "failed" and "finite" in rows[3]["error"] and rows[3]["energy_ev"] == ""
    for atoms, row in zip((given[0], given[4]), (rows[0], rows[4]), strict=True):
        atoms.calc = EMT()
        assert float(row["energy_ev"]) == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    pressure = -given[0].get_stress()[:3].mean() * GPA_PER_EV_A3
    assert float(rows[0]["pressure_gpa"]) == pytest.approx(pressure, abs=1e-9)
    with connect(tmp_path / "screen.db") as database:
        assert len(database) == 5
        assert database.get(number=0).energy == pytest.approx(given[0].get_potential_energy(), abs=1e-9)
        assert database.get(status="failed").formula == "H2O"
    assert len(ase.io.read(tmp_path / "screen.extxyz", ":")) == 4
    with pytest.raises(NotConvergedError, match="1 of 5 structures failed or did not converge"):
        result.require_some()


def test_relaxations_have_the_numbers_of_one_process_on_every_executor(tmp_path: Path) -> None:
    given, settings = crystals(), RelaxSettings(fmax=0.05)
    alone = screen(given, calc=EMT, settings=settings, out=tmp_path / "a", batch=2, plot=False)
    with ThreadPoolExecutor(1) as executor:
        handed = screen(
            given, calc=EMT, settings=settings, out=tmp_path / "b", batch=2, executor=executor, plot=False
        )
    assert alone.counts["ok"] == 6
    assert energies(alone) == pytest.approx(energies(handed), abs=1e-9)
    assert_same(table(tmp_path / "a"), table(tmp_path / "b"))


@pytest.mark.capability("B11")
def test_processes_compute_the_same_and_a_deadly_structure_is_a_row(tmp_path: Path) -> None:
    given = [*crystals(4), bulk("Au", cubic=True)]
    settings = RelaxSettings(fmax=0.05)
    result = screen(given, calc=Deadly, settings=settings, out=tmp_path, batch=2, processes=2, plot=False)
    assert result.counts == {"ok": 4, "not-converged": 0, "failed": 1}
    assert "died" in str(result.rows[4].outcome.error)
    here = screen(given[:4], calc=EMT, settings=settings, out=tmp_path / "here", batch=2, plot=False)
    assert energies(result)[:4] == pytest.approx(energies(here), abs=1e-9)


def test_tasks_of_one_structure_give_the_numbers_of_their_workflow(tmp_path: Path) -> None:
    copper = bulk("Cu", "fcc", a=3.6)
    given = [copper, molecule("H2O")]
    settings = EosSettings(relax="none", n_volumes=5)
    result = screen(given, calc=EMT, task="eos", settings=settings, out=tmp_path, plot=False)
    found = eos(copper, calc=EMT(), relax="none", n_volumes=5)
    assert found.fit is not None
    values = result.rows[0].outcome.values
    assert values["bulk_modulus_gpa"] == pytest.approx(found.fit.bulk_modulus_gpa, rel=1e-9)
    assert result.rows[1].outcome.status == "failed"
    assert "periodic in no direction" in str(result.rows[1].outcome.error)


def test_failures_are_kept_until_they_are_to_be_tried_again(tmp_path: Path) -> None:
    given, few = crystals(3), RelaxSettings(fmax=0.05, steps=2)
    first = screen(given, calc=EMT, settings=few, out=tmp_path, plot=False)
    assert first.counts["not-converged"] == 3
    kept = screen(given, calc=EMT, settings=few, out=tmp_path, resume=True, plot=False)
    assert kept.n_computed == 0 and energies(kept) == energies(first)
    tried = screen(given, calc=EMT, settings=few, out=tmp_path, resume=True, retry=True, plot=False)
    assert tried.n_computed == 3 and len(table(tmp_path)) == 3
    with pytest.raises(UsageError, match=r"settings\.steps was 2, now it is 3"):
        screen(given, calc=EMT, settings=RelaxSettings(fmax=0.05, steps=3), out=tmp_path, resume=True)
    with pytest.raises(UsageError, match="resume=True"):
        screen(given, calc=EMT, settings=few, out=tmp_path)


def test_structures_that_are_added_are_all_that_is_computed(tmp_path: Path) -> None:
    given, settings = crystals(5), RelaxSettings(fmax=0.05)
    first = screen(given[:4], calc=EMT, settings=settings, out=tmp_path, batch=1, plot=False)
    more = screen(given, calc=EMT, settings=settings, out=tmp_path, batch=1, resume=True, plot=False)
    assert more.n_computed == 1 and energies(more)[:4] == energies(first)


def test_structures_that_are_added_anywhere_are_all_that_is_computed(tmp_path: Path) -> None:
    given, settings = crystals(7), RelaxSettings(fmax=0.05)
    first = screen(given[2:5], calc=EMT, settings=settings, out=tmp_path, plot=False)
    more = screen(given, calc=EMT, settings=settings, out=tmp_path, resume=True, plot=False)
    assert more.n_computed == 4 and energies(more)[2:5] == energies(first)
    less = screen(given[3:], calc=EMT, settings=settings, out=tmp_path, resume=True, plot=False)
    assert less.n_computed == 0 and energies(less) == energies(more)[3:]


def test_one_index_is_given_not_two(tmp_path: Path) -> None:
    bulk("Cu").write(tmp_path / "cu.xyz", format="extxyz")
    with pytest.raises(UsageError, match="has an index of its own"):
        screen(f"{tmp_path / 'cu.xyz'}@0", index=":", calc=EMT, out=tmp_path / "out")


def test_rows_are_in_the_order_of_the_input(tmp_path: Path) -> None:
    metals = [bulk(element) for element in ("Cu", "Al", "Ag")]
    metals[1].write(tmp_path / "al.xyz", format="extxyz")
    given = [metals[0], tmp_path / "al.xyz", metals[2]]
    rows = screen(given, calc=EMT, task="singlepoint", out=tmp_path / "out", plot=False).rows
    assert [(row.number, row.formula, row.frame) for row in rows] == [
        (0, "Cu", 0),
        (1, "Al", 0),
        (2, "Ag", 1),
    ]


def _made() -> Calculator:
    return _made.now()


def test_a_function_that_makes_another_calculator_is_asked_again(tmp_path: Path, monkeypatch) -> None:
    structures = [bulk("Cu")]
    found = []
    for number, now in enumerate((EMT, LennardJones)):
        monkeypatch.setattr(_made, "now", now, raising=False)
        result = screen(structures, calc=_made, task="singlepoint", out=tmp_path / str(number), plot=False)
        atoms = structures[0].copy()
        atoms.calc = now()
        assert energies(result) == [pytest.approx(atoms.get_potential_energy())]
        found.append(result.potential["name"])
    assert found == ["EMT", "LennardJones"]


def test_a_worker_with_another_calculator_is_refused(tmp_path: Path) -> None:
    class Elsewhere(ThreadPoolExecutor):
        """A machine where the function makes something else."""

        def submit(self, fn, order):
            return super().submit(fn, replace(order, calculator=pickle.dumps(LennardJones)))

    with Elsewhere() as executor, pytest.raises(UsageError, match=r"another calculator .*LennardJones.*EMT"):
        screen([bulk("Cu")], calc=EMT, task="singlepoint", out=tmp_path, executor=executor, plot=False)


def test_molecules_and_crystals_have_a_head_each(tmp_path: Path, by_kind: Path) -> None:
    given = [molecule("H2O"), bulk("NaCl", "rocksalt", a=5.6), molecule("CH4")]
    result = screen(given, calc=JMPCalculator(by_kind), task="singlepoint", out=tmp_path, plot=False)
    assert result.counts["ok"] == 3
    assert [row["head"] for row in table(tmp_path)] == ["organic", "materials", "organic"]


CHILD = """
import sys
from ase.io import read
from jmp_calc.screening.screen import screen
from jmp_calc.workflows.md_settings import MDSettings
from jmp_calc.workflows.phonon.settings import PhononSettings
from jmp_calc.workflows.relax_settings import RelaxSettings
from tests.screening.emt_calculators import Mortal
if __name__ == "__main__":
    screen(read(sys.argv[1], ":"), calc=Mortal, settings=RelaxSettings(fmax=0.03), out=sys.argv[2], batch=1,
           processes=int(sys.argv[3]), resume=True, plot=False)
"""


def killed_and_resumed(tmp_path: Path, *, processes: int, kill: str, kills: int) -> int:
    """Start a campaign that is killed so many times, let it end, and give how often it was killed."""
    frames, script = tmp_path / "frames.traj", tmp_path / "child.py"
    ase.io.write(frames, crystals(12))
    script.write_text(CHILD)
    words = [sys.executable, script, frames, tmp_path / "out", processes]
    codes = [run(words, env=environment(JMP_TEST_KILL=kill)).returncode for _ in range(kills)]
    done = run(words)
    assert done.returncode == 0, done.stderr
    journal = (tmp_path / "out" / "screen.jsonl").read_text().splitlines()
    keys = [json.loads(line)["key"] for line in journal[1:]]
    assert len(keys) == len(set(keys))  # nothing was counted twice
    assert set(codes) <= {0, -signal.SIGKILL}
    return sum(code != 0 for code in codes)


def uninterrupted(tmp_path: Path) -> list[dict[str, str]]:
    settings, out = RelaxSettings(fmax=0.03), tmp_path / "whole"
    screen(crystals(12), calc=EMT, settings=settings, out=out, batch=1, plot=False)
    return table(out)


def test_a_killed_campaign_goes_on_with_the_same_numbers(tmp_path: Path) -> None:
    assert killed_and_resumed(tmp_path, processes=1, kill="35", kills=2) == 2
    assert_same(table(tmp_path / "out"), uninterrupted(tmp_path))


def test_an_interrupted_campaign_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, settings = crystals(), RelaxSettings(fmax=0.03)
    monkeypatch.setenv("JMP_TEST_KILL", "20 interrupt")
    monkeypatch.setattr(Mortal, "count", 0)
    with pytest.raises(Interrupted, match="2 of 6 structures were done; --resume goes on"):
        screen(given, calc=Mortal, settings=settings, out=tmp_path, batch=1, plot=False)
    rest = screen(given, calc=Mortal, settings=settings, out=tmp_path, batch=1, resume=True, plot=False)
    assert rest.n_computed == 4 and rest.counts["ok"] == 6


@pytest.mark.slow
def test_many_kills_of_two_processes_change_nothing(tmp_path: Path) -> None:
    # How many there are depends on which of the two processes gets ahead.
    assert killed_and_resumed(tmp_path, processes=2, kill="20 parent", kills=6) >= 2
    assert_same(table(tmp_path / "out"), uninterrupted(tmp_path))


def test_settings_are_named_as_in_python() -> None:
    assert task_settings("relax", {"cell": "full"}) == RelaxSettings(cell="full")
    with pytest.raises(UsageError, match="no setting 'fmx'") as caught:
        task_settings("relax", {"fmx": 1.0})
    assert caught.value.hint == "did you mean fmax?"
    with pytest.raises(UsageError, match="needs RelaxSettings, got EosSettings"):
        screen(crystals(1), calc=EMT, settings=EosSettings(), out="never")


TASKS: dict[Task, tuple[TaskSettings | None, ...]] = {
    "singlepoint": (None,),
    "relax": (RelaxSettings(cell="volume"),),
    "md": tuple(MDSettings(steps=5, stats_every=1, ensemble=kind) for kind in ("nve", "npt")),
    "eos": (EosSettings(n_volumes=5, relax="none"),),
    "elastic": (ElasticSettings(n_strains=2),),
    "phonons": (PhononSettings(supercell="2 2 2", mesh="2 2 2", band_points=2),),
}


@pytest.mark.parametrize("task", TASKS)
def test_the_figure_of_a_task_shows_columns_that_its_table_has(task: Task, tmp_path: Path) -> None:
    found: set[str] = set()
    for number, settings in enumerate(TASKS[task]):
        out = tmp_path / str(number)
        crystal = [bulk("Cu", "fcc", a=3.59, cubic=task == "md")]
        result = screen(crystal, calc=EMT, task=task, settings=settings, out=out, plot=False)
        found |= {name for name, value in result.rows[0].outcome.values.items() if value is not None}
    assert set(COLUMNS[task]) <= found


@pytest.mark.parametrize(
    ("task", "given", "text"),
    [
        ("relax", {"guard": "maybe"}, "guard is true or false, got 'maybe'"),
        ("relax", {"steps": 10.5}, "steps is a whole number, got 10.5"),
        ("eos", {"n_volumes": "seven"}, "n_volumes is a whole number"),
        ("eos", {"min_volume": [1, 2]}, "min_volume is a number, got"),
        ("md", {"temperature_k": "cold"}, "temperature_k is a number or null"),
    ],
)
def test_settings_of_the_wrong_kind_are_told_before_a_structure_is_computed(
    task: Task, given: dict[str, Any], text: str
) -> None:
    with pytest.raises(UsageError, match=text):
        task_settings(task, given)


def test_settings_take_the_kind_that_they_have_in_python() -> None:
    found = task_settings("relax", {"steps": 1e3, "fmax": 1, "guard": False})
    assert found == RelaxSettings(steps=1000, fmax=1.0, guard=False)
    assert isinstance(found, RelaxSettings) and isinstance(found.steps, int)
    assert task_settings("phonons", {"supercell": [2, 2, 2]}) == PhononSettings(supercell="2 2 2")


def test_settings_of_dynamics_that_contradict_each_other_are_told_at_once() -> None:
    with pytest.raises(UsageError, match="barostat of ensemble npt has no thermostat bussi"):
        ScreenSettings(task="md", settings=MDSettings(ensemble="npt", thermostat="bussi"))


def test_a_calculator_that_does_not_pickle_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be sent to workers"):
        screen(crystals(1), calc=lambda: EMT(), task="singlepoint", out=tmp_path)
