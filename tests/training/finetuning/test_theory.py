"""The level of theory of fine-tuned heads: read, written, and of use to what must know it."""

from __future__ import annotations

from pathlib import Path

import pytest

from jmp_calc import JMPCalculator, finetune
from jmp_calc.dispersion import named_functional, refuse_twice
from jmp_calc.errors import ModelError, UsageError
from jmp_calc.model.config import UNTOLD_LEVEL, Theory
from jmp_calc.training import ModelOptions
from jmp_calc.training.finetuning.recipe_theory import recipe_theory
from jmp_calc.training.finetuning.recipes import finetune_recipe, recipe_names
from jmp_calc.training.finetuning.theory import as_text, in_one_line, read_theory
from jmp_calc.zoo.container import load_model
from tests.training.helpers.tiny import emt_atoms, tiny_model

PBE = Theory("PBE", "plane waves, PAW, 520 eV", "D3(BJ)", "collinear", "Ti 4.0 eV")
TEXT = "functional=PBE, basis=plane waves, PAW, 520 eV,dispersion=D3(BJ),spin=collinear,hubbard_u=Ti 4.0 eV"


def test_commas_within_a_value_belong_to_it() -> None:
    assert read_theory(TEXT) == PBE


def test_text_and_table_are_one() -> None:
    assert read_theory(as_text(PBE)) == PBE
    assert read_theory({"functional": "PBE", "dispersion": "none"}) == read_theory(
        "functional=PBE,dispersion=none"
    )


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("functonal=PBE", "did you mean 'functional'"),
        ("functional=PBE,basis=def2-SVP,dispersoin=none", "did you mean 'dispersion'"),
        ("basis=def2-SVP", "needs its functional"),
        ("functional= ", "needs its functional"),
        ("functional=PBE,functional=PBE0", "given twice"),
        ("PBE", "is not FIELD=TEXT"),
        ({"functional": 3}, "Expected a text"),
        ({}, "needs its functional"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: str | dict[str, object], problem: str) -> None:
    with pytest.raises(UsageError) as found:
        read_theory(given)
    assert problem in str(found.value)
    assert "--theory" in str(found.value)


@pytest.mark.parametrize(
    ("theory", "line"),
    [
        (PBE, "PBE-D3(BJ)+U, plane waves, PAW, 520 eV, spin collinear, U Ti 4.0 eV"),
        (Theory("PBE", "def2-SVP", "none", "", "none"), "PBE/def2-SVP"),
        (Theory("GFN2-xTB", dispersion="D4"), "GFN2-xTB-D4"),
        (Theory("wB97X-V", "cc-pVTZ", "-V"), "wB97X-V/cc-pVTZ"),
        (Theory(basis="def2-SVP"), ""),
    ],
)
def test_the_line_for_people_says_all_fields(theory: Theory, line: str) -> None:
    assert in_one_line(theory) == line


def test_what_was_said_in_words_stands() -> None:
    assert ModelOptions().level == UNTOLD_LEVEL
    assert ModelOptions(theory=Theory("PBE", "def2-SVP")).level == "PBE/def2-SVP"
    said = ModelOptions(level_of_theory="PBE by VASP", theory=Theory("PBE"))
    assert said.level == "PBE by VASP"


@pytest.mark.parametrize("name", recipe_names())
def test_published_tasks_name_the_functional_of_their_labels(name: str) -> None:
    recipe = finetune_recipe(name)
    theory = recipe_theory(recipe.dataset, recipe.member)
    assert bool(theory.functional) == (recipe.dataset != "pdbbind")
    assert ModelOptions().for_recipe(recipe).theory == theory
    own = Theory("PBE0")
    assert ModelOptions(theory=own).for_recipe(recipe).theory == own


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of labels that say that they have D3."""
    folder = tmp_path_factory.mktemp("theory")
    finetune(
        emt_atoms(12),
        model=str(tiny_model(folder / "tiny.safetensors")),
        out=folder / "run",
        max_steps=2,
        start=ModelOptions(theory=Theory("RPBE", "plane waves", "D3(BJ)")),
        device="cpu",
        say=lambda line: None,
    )
    return folder / "run"


def test_the_file_has_the_fields(run: Path) -> None:
    for name in ("best", "last"):
        head = load_model(run / f"{name}.safetensors").potential.config.head("finetuned")
        assert head.theory == Theory("RPBE", "plane waves", "D3(BJ)")
        assert head.level_of_theory == "RPBE-D3(BJ), plane waves"


def test_dispersion_is_not_added_twice_to_a_fine_tuned_head(run: Path) -> None:
    calc = JMPCalculator(run / "best.safetensors", device="cpu")
    assert named_functional(calc) == "rpbe"
    with pytest.raises(ModelError, match=r"have dispersion already \(D3\(BJ\)\)"):
        refuse_twice(calc)


def test_a_run_that_was_over_may_be_told_another_theory(run: Path) -> None:
    result = finetune(
        emt_atoms(12),
        model=str(run.parent / "tiny.safetensors"),
        out=run,
        max_steps=2,
        start=ModelOptions(theory=Theory("PBEsol")),
        resume=True,
        device="cpu",
        say=lambda line: None,
    )
    assert load_model(result.best).potential.config.head("finetuned").theory == Theory("PBEsol")
    assert load_model(result.last).potential.config.head("finetuned").level_of_theory == "PBEsol"


def test_a_head_of_which_nothing_was_said_needs_a_functional(tmp_path: Path) -> None:
    result = finetune(
        emt_atoms(6),
        model=str(tiny_model(tmp_path / "tiny.safetensors")),
        out=tmp_path / "run",
        max_steps=1,
        device="cpu",
        say=lambda line: None,
    )
    with pytest.raises(UsageError, match="does not say with which functional") as found:
        named_functional(JMPCalculator(result.best, device="cpu"))
    assert "--theory functional=NAME" in str(found.value)
