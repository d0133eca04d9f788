"""The recipe of jmp-xs says what it means, and held-out sets cannot get in."""

from __future__ import annotations

import math
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from jmp_calc.errors import UsageError
from jmp_calc.model.config import DefaultHeads
from jmp_calc.training.pretraining.mixture import (
    MixtureHead,
    MixtureSet,
    changed,
    holdout_reason,
    load_mixture,
    mixture_of,
    refuse_holdout,
)
from jmp_calc.training.pretraining.published import PRETRAIN_RECIPES
from jmp_calc.training.pretraining.recipe import load_recipe

RECIPE = """
[mixture]
name = "two"
default_head = "a"
[heads.a]
level_of_theory = "PBE"
[sets.one]
files = ["one.xyz"]
head = "a"
cap = 10
"""


def test_recipe_of_jmp_xs_names_a_licence_a_source_and_a_citation_for_every_set() -> None:
    mixture = load_mixture("jmp-xs")
    assert len(mixture.sets) > 20
    for item in mixture.sets:
        assert item.licence != "unknown", item.name
        assert item.source != "unknown", item.name
        assert item.citation, item.name


def test_recipe_of_jmp_xs_keeps_no_head_of_an_undocumented_functional() -> None:
    for head in load_mixture("jmp-xs").heads:
        if "not documented" in head.level_of_theory:
            assert not head.keep, head.name


def test_defaults_are_of_heads_that_are_written() -> None:
    """One for molecules and one for periodic structures, or one for all where they are the same."""
    two = RECIPE.replace('default_head = "a"', 'default_head = "a"\ndefault_for_molecules = "b"')
    two += '[heads.b]\nlevel_of_theory = "x"\n[sets.two]\nfiles = ["two.xyz"]\nhead = "b"\n'
    mixture = mixture_of(tomllib.loads(two))
    assert mixture.defaults(["a", "b"]) == DefaultHeads("b", "a")
    assert mixture.defaults(["a"]) == "a"
    assert mixture.defaults(["b"]) == "b"
    assert mixture_of(tomllib.loads(RECIPE)).defaults(["a"]) == "a"


def test_a_head_of_molecules_never_stands_for_a_default_of_crystals() -> None:
    two = RECIPE.replace('default_head = "a"', 'default_head = "a"\ndefault_for_molecules = "b"')
    for name in "bcde":
        two += (
            f'[heads.{name}]\nlevel_of_theory = "x"\n[sets.{name}]\nfiles = ["{name}.xyz"]\nhead = "{name}"\n'
        )
    mixture = mixture_of(tomllib.loads(two))
    seen = {"a": ("crystals",), "b": ("molecules",), "c": ("molecules",), "d": ("molecules", "surfaces")}
    seen |= {"e": ("liquids",)}
    assert mixture.defaults(["a", "b", "c", "d", "e"], seen) == DefaultHeads("b", "a")
    assert mixture.defaults(["b", "c", "d", "e"], seen) == DefaultHeads("b", "d")
    assert mixture.defaults(["b", "c", "e"], seen) == DefaultHeads("b", "e")
    assert mixture.defaults(["b", "c"], seen) == "b"
    assert mixture.defaults(["c", "a", "e"], seen) == DefaultHeads("c", "a")
    assert mixture.defaults(["a", "e"], seen) == "a"


def test_training_table_of_jmp_xs_is_understood() -> None:
    recipe = load_recipe("jmp-xs")
    assert (
        recipe.train.optim.lr == 2e-3
        and recipe.train.max_time == 5400
        and recipe.model.architecture == "jmp-xs"
    )


@pytest.mark.parametrize("size", ["s", "l"])
def test_the_published_pretraining_can_be_started_with_its_settings(size: str) -> None:
    recipe, published = load_recipe(f"pretrain-jmp-{size}"), PRETRAIN_RECIPES[f"pretrain-jmp-{size}"]
    train, mixture = recipe.train, recipe.mixture
    assert train.optim == published.optim and train.epochs == published.epochs and train.forces == "direct"
    assert train.batch_size * train.accumulate == published.global_batch
    assert train.edge_dropout == published.edge_dropout and train.loss.energy == published.energy_loss
    assert train.loss.structure_wise is published.structure_wise_loss
    assert mixture.temperature == published.temperature and mixture.normalisation == "jmp"
    assert (
        recipe.model.architecture == published.model and recipe.model.max_neighbors == published.max_neighbors
    )
    for ours, theirs in zip(mixture.sets, published.sets, strict=True):
        assert (ours.name, ours.cutoff or recipe.model.cutoff) == (theirs.name, theirs.cutoff)


def test_doubtful_stresses_of_mlearn_are_not_trained_on() -> None:
    mlearn = next(item for item in load_mixture("jmp-xs").sets if item.name == "mlearn")
    assert [name for name in ("Si", "Mo", "Cu", "Ni", "Li") if mlearn.wants_stress(name)] == ["Si", "Mo"]


@pytest.mark.parametrize(
    "file",
    [
        "bpa3_train.xyz.gz",
        "bpa3_iso.xyz.gz",
        "aspirin_rmd17.xyz.gz",
        "spice_dipeptides_train.xyz.gz",
        "da_reaction.xyz.gz",
        "c60_pbe0_train.xyz.gz",
        "water_pbe0_train.xyz.gz",
        "batio3.xyz.gz",
        "tio2_aenet.xyz.gz",
        "gst.xyz.gz",
        "hea25_sample.xyz.gz",
        "gaas.xyz.gz",
        "nifeooh_oer.xyz.gz",
        "si_random.xyz.gz",
        "mlearn_test.xyz.gz",
        "methane_random_val.xyz.gz",
        "qm7.xyz.gz",
        "qm9_sub_train.xyz.gz",
        "rdb7_barriers_ts_train.xyz.gz",
        "perov5_train.xyz.gz",
        "carbon24_train.xyz.gz",
        "mp_elastic.xyz.gz",
        "odac_promising_mofs.xyz.gz",
        "refenergies.xyz.gz",
        "water_rpbe_d3.xyz.gz",
    ],
)
def test_held_out_file_is_refused_by_name(file: str) -> None:
    mixture = load_mixture("jmp-xs")
    extra = MixtureSet(name="more", files=(f"some/folder/{file}",), head=mixture.heads[0].name, cap=10)
    with pytest.raises(UsageError, match="held out"):
        refuse_holdout(replace(mixture, sets=(*mixture.sets, extra)))


@pytest.mark.parametrize(
    "file", ["mlearn_train.xyz.gz", "water_rpbe.xyz.gz", "qm22_nma.xyz.gz", "s66x8_wb97x.xyz.gz"]
)
def test_training_file_is_not_held_out(file: str) -> None:
    assert holdout_reason(file) is None


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('head = "a"\ncap', 'head = "b"\ncap', "unknown head"),
        ("cap = 10", "caps = 10", "caps"),
        ("cap = 10", "cap = 0", "cap >= 1"),
        ('default_head = "a"', 'default_head = "z"', "default head"),
        ("[mixture]", '[mixture]\ndefault_for_molecules = "z"', "The default head 'z'"),
        ("cap = 10", "domain = 'gases'", "Expected one of molecules"),
        ('"PBE"', '"PBE"\ntheory = { smearing = "x" }', "Unknown key 'smearing'"),
        ("[sets.one]", "[heads.idle]\nlevel_of_theory = 'x'\n[sets.one]", "No set trains"),
        ("cap = 10", "cap = ", "TOML"),
        ("cap = 10", "groups = 'bulk*'", "Expected a list, found 'bulk"),
        ("cap = 10", "not_stress_groups = 'mol*'", "Expected a list, found 'mol"),
        ('files = ["one.xyz"]', "files = 'one.xyz'", "Expected a list"),
        ("cap = 10", "weight = 'two'", "Expected a number, found 'two'"),
        ("cap = 10", "info = {charge = [0]}", "Expected an integer"),
        ("[mixture]", "[mixture]\ntemperature = 'abc'", "Expected a number, found 'abc'"),
        ("[mixture]", "[mixture]\ntemperature = nan", "Expected a finite number"),
    ],
)
def test_faulty_recipe_is_refused_with_the_reason(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.replace(old, new))
    with pytest.raises(UsageError, match=message):
        load_mixture(path)


@pytest.mark.parametrize(
    ("change", "message", "where"),
    [
        ("heads.a=3", "Expected an object, found 3", "[heads.a]"),
        ("heads={}", "is not a setting", "--set"),
        ("heads.b.keep=false", "'level_of_theory' is missing", "[heads.b]"),
        ("sets.one.weight=two", "Expected a number", "[sets.one.weight]"),
        ("sets.one.groups=bulk*", "Expected a list", "[sets.one.groups]"),
        ("mixture.temperature=abc", "Expected a number", "[mixture.temperature]"),
        ("sets.one.energy_unit=furlong", "no unit of energy 'furlong'", "[sets.one.energy_unit]"),
        ("sets.one.energy_unit=''", "no unit of energy ''", "[sets.one.energy_unit]"),
        ("sets.one.length_unit=hartree", "no unit of length 'hartree'", "[sets.one.length_unit]"),
        ("sets.one.forces_unit=eV", "no unit of forces 'eV'", "[sets.one.forces_unit]"),
        ("sets.one.stress_unit=hartree/bohr", "no unit of stress", "[sets.one.stress_unit]"),
        ("sets.one.stress_unit=3", "Expected a text, found 3", "[sets.one.stress_unit]"),
        ("sets.one.stress_sign=minus", "Expected one of tension, pressure", "[sets.one.stress_sign]"),
        ("sets.one.force_unit=eV/bohr", "Unknown key 'force_unit'", "[sets.one]"),
    ],
)
def test_a_setting_of_the_command_line_that_cannot_be_meant_is_refused(
    change: str, message: str, where: str
) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        mixture_of(changed(tomllib.loads(RECIPE), [change]), "tiny")
    assert where in str(refused.value.where) and not refused.value.fact.endswith("..")


@pytest.mark.parametrize(("key", "unit"), [("energy_unit", "hartree"), ("stress_sign", "tension")])
def test_units_of_records_are_refused_because_records_are_converted(key: str, unit: str) -> None:
    changes = ["sets.one.files=[]", "sets.one.records=folder", f"sets.one.{key}={unit}"]
    with pytest.raises(UsageError, match="'one' is read from records") as refused:
        mixture_of(changed(tomllib.loads(RECIPE), changes), "tiny")
    assert refused.value.where == f"tiny [sets.one.{key}]"
    assert "preprocess" in (refused.value.hint or "")


@pytest.mark.parametrize(
    "choice",
    ["cap=5", "split=composition", "select=random", "max_force=3.0", "groups=['bulk*']", "info.charge=0"],
)
def test_what_would_choose_among_records_is_refused(choice: str) -> None:
    """All of them are used: nobody reads them before they are trained on."""
    changes = ["sets.one.files=[]", "sets.one.records=folder", f"sets.one.{choice}"]
    content = changed(tomllib.loads(RECIPE), changes)
    if not choice.startswith("cap"):
        del content["sets"]["one"]["cap"]
    with pytest.raises(
        UsageError, match="'one' is read from records, of which all frames are used"
    ) as refused:
        mixture_of(content, "tiny")
    assert str(refused.value.where).startswith("tiny [sets.one.")


def test_values_of_several_kinds_are_kept() -> None:
    changes = [
        "mixture.temperature=inf",
        "sets.one.info={charge = 0, spin = 0.5, phase = 'bulk'}",
        "sets.one.groups=['bulk*']",
    ]
    mixture = mixture_of(changed(tomllib.loads(RECIPE), changes))
    assert mixture.temperature == math.inf
    assert mixture.sets[0].info == {"charge": 0, "spin": 0.5, "phase": "bulk"} and mixture.sets[0].groups == (
        "bulk*",
    )
    with pytest.raises(UsageError, match="mixture is not a table"):
        mixture_of({"mixture": 3})


def test_recipe_that_does_not_exist_names_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        load_mixture("jmp-xxs")
    assert "jmp-xs" in (caught.value.hint or "")


def test_groups_select_frames_by_pattern() -> None:
    item = MixtureSet(name="s", files=("f",), head="h", cap=1, groups=("Elastic_*",), not_groups=("*_BCC",))
    assert [g for g in ("Elastic_FCC", "Elastic_BCC", "MD") if item.wants(g)] == ["Elastic_FCC"]
    assert MixtureHead("h", "PBE").keep
