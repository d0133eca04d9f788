"""Arguments of another type are one sentence, and numbers of numpy are plain ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

import jmp_calc
from jmp_calc.analysis.settings import AnalyseSettings
from jmp_calc.arguments import a_calculator, names, one_structure, plain, structure_list
from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.labelling.label import label
from jmp_calc.sampling.select import SelectSettings
from jmp_calc.sampling.settings import SampleSettings
from jmp_calc.training.config import LossConfig, OptimConfig, TrainConfig
from jmp_calc.workflows.battery.settings import CheckSettings
from jmp_calc.workflows.md_settings import MDSettings
from jmp_calc.workflows.paths.settings import NEBSettings
from jmp_calc.workflows.paths.ts_settings import TSSettings
from jmp_calc.workflows.phonon.conductivity_settings import ConductivitySettings
from jmp_calc.workflows.phonon.qha_settings import QhaSettings
from jmp_calc.workflows.phonon.settings import PhononSettings
from jmp_calc.workflows.phonon.sscha_settings import SschaSettings
from jmp_calc.workflows.relax_settings import RelaxSettings
from jmp_calc.workflows.statics.adsorb_settings import AdsorbSettings
from jmp_calc.workflows.statics.elastic_settings import ElasticSettings
from jmp_calc.workflows.statics.eos_settings import EosSettings
from jmp_calc.workflows.statics.sum_settings import SumSettings
from jmp_calc.workflows.vibrations.settings import VibSettings

SETTINGS: tuple[tuple[type, dict[str, Any]], ...] = (
    (AnalyseSettings, {}),
    (SelectSettings, {}),
    (SampleSettings, {"what": "crystals"}),
    (CheckSettings, {}),
    (MDSettings, {}),
    (NEBSettings, {}),
    (TSSettings, {}),
    (ConductivitySettings, {}),
    (QhaSettings, {}),
    (PhononSettings, {}),
    (SschaSettings, {}),
    (RelaxSettings, {}),
    (AdsorbSettings, {}),
    (ElasticSettings, {}),
    (EosSettings, {}),
    (SumSettings, {}),
    (VibSettings, {}),
    (LossConfig, {}),
    (OptimConfig, {}),
    (TrainConfig, {}),
)


@dataclasses.dataclass(frozen=True)
class Example:
    """One field of each kind."""

    count: int = 1
    size: float = 1.0
    limit: float | None = None
    on: bool = False
    name: str = ""
    several: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        plain(self)


def test_numbers_of_numpy_and_whole_floats_become_plain() -> None:
    found = Example(
        count=np.int64(3),  # type: ignore[arg-type]
        size=np.float32(0.5),  # type: ignore[arg-type]
        limit=np.array(2.0),  # type: ignore[arg-type]
        on=np.bool_(True),  # type: ignore[arg-type]
    )
    assert json.dumps(dataclasses.asdict(found)) == json.dumps(
        {"count": 3, "size": 0.5, "limit": 2.0, "on": True, "name": "", "several": []}
    )
    assert Example(count=1e5).count == 100_000  # type: ignore[arg-type]
    assert type(Example(count=1e5).count) is int  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"count": 1.5}, "count must be a whole number, got 1.5"),
        ({"count": float("nan")}, "count must be a whole number"),
        ({"count": True}, "count must be a whole number, got True"),
        ({"size": "0.1"}, "size must be a number, got '0.1'"),
        ({"size": None}, "size must be a number, got None"),
        ({"limit": [1.0]}, "limit must be a number"),
        ({"on": "no"}, "on must be True or False, got 'no'"),
        ({"on": 1}, "on must be True or False"),
        ({"name": 3}, "name must be text, got 3"),
        ({"size": np.zeros(100)}, "got an object of type ndarray"),
    ],
)
def test_other_types_are_refused_by_name(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        Example(**given)
    assert said in str(raised.value)


@pytest.mark.parametrize(("settings", "needed"), SETTINGS, ids=lambda item: getattr(item, "__name__", ""))
def test_settings_of_all_workflows_refuse_other_types(settings: Any, needed: dict[str, Any]) -> None:
    """A list is no number, no text and no truth value: every field that holds one says so."""
    hints = {field.name: str(field.type) for field in dataclasses.fields(settings)}
    scalar = [
        name for name, hint in hints.items() if hint in ("int", "float", "bool", "int | None", "float | None")
    ]
    assert scalar
    for name in scalar:
        with pytest.raises(UsageError, match=name):
            settings(**needed, **{name: [1]})
        if hints[name].startswith("int"):
            with pytest.raises(UsageError, match=f"{name} must be a whole number"):
                settings(**needed, **{name: 1.5})


def test_structures_are_atoms() -> None:
    copper = bulk("Cu")
    assert one_structure(copper) is copper and structure_list(copper) == [copper]
    assert structure_list(atoms for atoms in [copper, copper]) == [copper, copper]
    for given, said in (("POSCAR", r"ase\.io\.read"), (None, "one ASE Atoms"), ([copper], "one ASE Atoms")):
        with pytest.raises(UsageError, match=said):
            one_structure(given)
    for given, said in (
        ("POSCAR", r"ase\.io\.read"),
        (None, "ASE Atoms"),
        ([copper, None], "Structure 1 is of"),
    ):
        with pytest.raises(UsageError, match=said):
            structure_list(given)


def test_calculators_are_objects() -> None:
    assert isinstance(a_calculator(EMT()), EMT)
    for given, said in (("jmp-xs", r"JMPCalculator\('jmp-xs'\)"), (EMT, r"EMT\(\)"), (3, "got 3")):
        with pytest.raises(UsageError, match=said):
            a_calculator(given)


def test_a_text_is_no_list_of_letters() -> None:
    assert names("forces", "only") == ("forces",) and names(["a", "b"], "only") == ("a", "b")
    assert names(Path("model"), "committee") == ("model",)
    with pytest.raises(UsageError, match="only must be texts"):
        names([1], "only")


def aluminium() -> Atoms:
    atoms = bulk("Al", cubic=True)
    atoms.calc = EMT()
    return atoms


WORKFLOWS: tuple[Callable[..., Any], ...] = (
    jmp_calc.relax, jmp_calc.md, jmp_calc.eos, jmp_calc.elastic, jmp_calc.phonons, jmp_calc.vib
)  # fmt: skip


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda function: function.__name__)
def test_workflows_say_what_they_were_given(workflow: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="atoms must be one ASE Atoms object"):
        workflow("POSCAR", calc=EMT())
    with pytest.raises(UsageError, match="atoms must be one ASE Atoms object"):
        workflow([aluminium()])
    with pytest.raises(UsageError, match="calc must be a calculator"):
        workflow(aluminium(), calc="jmp-xs")
    with pytest.raises(UsageError, match=r"write EMT\(\)"):
        workflow(aluminium(), calc=EMT)


def test_functions_of_many_structures_take_one_and_say_what_they_were_given(tmp_path: Path) -> None:
    assert len(jmp_calc.relax_many(aluminium(), calc=EMT()).rows) == 1
    with pytest.raises(UsageError, match="calc must be a calculator"):
        jmp_calc.relax_many([aluminium()], calc="jmp-xs")
    with pytest.raises(UsageError, match="calc must be a calculator"):
        jmp_calc.screen([aluminium()], calc=lambda: "jmp-xs", task="singlepoint", out=tmp_path / "out")
    with pytest.raises(UsageError, match="references must be ASE Atoms"):
        jmp_calc.formation_energy(aluminium(), 3, calc=EMT())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="by its name"):
        label([aluminium()], EMT(), out=tmp_path / "out")  # type: ignore[arg-type]


def test_results_are_plain_data() -> None:
    atoms = bulk("Cu", a=3.59)
    atoms.calc = EMT()
    for result in (
        jmp_calc.eos(atoms, relax="none"),
        jmp_calc.elastic(atoms, ions="clamped", allow_unconverged=True),
    ):
        json.dumps(result.to_dict(), allow_nan=False)


def test_a_mask_is_no_list_of_atoms() -> None:
    water = molecule("CO", calculator=EMT())
    for mask in ([True, False], np.array([True, False])):
        with pytest.raises(UsageError, match="not by a mask"):
            jmp_calc.vib(water, indices=mask)


def test_velocities_are_finite_and_new_ones_need_a_temperature() -> None:
    atoms = aluminium()
    with pytest.raises(UsageError, match="New velocities need a temperature"):
        jmp_calc.md(atoms, ensemble="nve", temperature_k=None, steps=2)
    atoms.set_momenta(np.full((4, 3), np.nan))
    with pytest.raises(BadInputError, match="NaN"):
        jmp_calc.md(atoms, velocities="keep", steps=2)


def test_a_relaxation_leaves_the_users_information_alone() -> None:
    atoms = aluminium()
    atoms.rattle(0.05, seed=1)
    atoms.info["step"] = "terrace A"
    assert jmp_calc.relax(atoms).atoms.info == {"step": "terrace A"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"head": ""}, "head='' names nothing"),
        ({"compiled": ""}, "compiled='' names nothing"),
        ({"compile": "no"}, "compile must be True or False"),
        ({"head": 1}, "head must be text"),
        ({"model": None}, "must be a name or a path"),
    ],
)
def test_the_calculator_refuses_what_names_nothing(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        jmp_calc.JMPCalculator(**{"model": "jmp-xs", **given})
    assert said in str(raised.value)


def test_settings_of_a_calculator_are_plain_json() -> None:
    calculator = jmp_calc.JMPCalculator("jmp-xs", head="pbe", cutoff=np.float32(5))
    assert json.loads(json.dumps(calculator.todict()))["cutoff"] == 5.0
