"""The published runs by name: counts, values of the recipe tables, and where paper and code part."""

from __future__ import annotations

import dataclasses

import pytest

from jmp_calc.errors import UsageError
from jmp_calc.model.config import JMP_L, JMP_S
from jmp_calc.training.datasets.registry import FAMILIES
from jmp_calc.training.finetuning.recipe import JMP_L_RATES, JMP_S_RATES
from jmp_calc.training.finetuning.recipes import disagreements, finetune_recipe, recipe_names
from jmp_calc.training.pretraining.published import PRETRAIN_RECIPES


def test_forty_one_tasks() -> None:
    names = recipe_names()
    counts = {
        name: sum(n.startswith(f"{name}-") for n in names)
        for name, family in FAMILIES.items()
        if family.splits
    }
    assert counts == {"qm9": 12, "rmd17": 10, "md22": 7, "spice": 2, "matbench": 8, "qmof": 1, "pdbbind": 1}
    assert len(set(names)) == 41


@pytest.mark.parametrize("name", recipe_names())
@pytest.mark.parametrize("variant", ["default", "paper", "code"])
def test_every_recipe_names_a_data_set_member_and_split_that_exist(name: str, variant: str) -> None:
    for full in (name, f"gn-oc-{name}"):
        recipe = finetune_recipe(full, variant)  # type: ignore[arg-type]
        assert recipe.name == full
        family = FAMILIES[recipe.dataset]
        assert recipe.member in family.members
        assert recipe.split in family.splits
        assert recipe.with_forces == (recipe.force_mode != "none") == (recipe.head == "energy")
        assert recipe.linear_reference is False or not recipe.with_forces


def test_names_are_found_in_any_case_and_nearly() -> None:
    assert finetune_recipe("MD22-ac-ala3-nhme").member == "Ac-Ala3-NHMe"
    with pytest.raises(UsageError, match="did you mean rmd17-aspirin"):
        finetune_recipe("rmd17-asprin")
    with pytest.raises(UsageError, match="no variant of recipes"):
        finetune_recipe("rmd17-aspirin", "ours")  # type: ignore[arg-type]


def test_rmd17_in_the_three_variants() -> None:
    default, paper, code = (finetune_recipe("rmd17-aspirin", v) for v in ("default", "paper", "code"))  # type: ignore[arg-type]
    assert (default.cutoff, default.max_neighbors, default.weight, default.batch_size) == (7.0, 100, 10.0, 1)
    assert default.head_bias is False and default.force_mode == "conservative"
    assert default.force_std == 1.2733363
    assert (default.patience, default.max_epochs) == (1000, 100_000)
    stages = [
        (
            r.stages.end_epoch,
            r.stages.final_lr,
            r.stages.plateau_patience,
            r.stages.plateau_factor,
            r.stages.stop_below,
            r.ema_decay,
        )
        for r in (default, paper, code)
    ]
    assert stages == [
        (128, 0.01, 10, 0.8, 1e-10, 0.99),
        (133, 0.01, 5, 0.1, 1e-8, 0.99),
        (32, 0.1, 10, 0.8, 1e-10, None),
    ]


def test_disagreements_are_told_apart() -> None:
    found = disagreements("rmd17-aspirin")
    assert found["stages.cosine_epochs"] == {"default": 128, "paper": 128, "code": 32}
    assert found["ema_decay"] == {"default": 0.99, "paper": 0.99, "code": None}
    assert found["block_rates_s"]["code"] == (0.30, 0.30, 0.40, 0.55, 0.625)
    assert "lr" not in found
    assert disagreements("qmof-bandgap")["split"] == {
        "default": "paper10k",
        "paper": "paper10k",
        "code": "code",
    }
    assert disagreements("qm9-mu")["linear_reference"] == {"default": False, "paper": True, "code": False}
    assert "force_mode" in disagreements("md22-buckyball-catcher")


def test_direct_forces_of_md22() -> None:
    def direct(variant: str) -> list[str]:
        found = (finetune_recipe(n, variant) for n in recipe_names() if n.startswith("md22"))  # type: ignore[arg-type]
        return [r.member for r in found if r.force_mode == "direct"]

    assert direct("default") == direct("paper") == ["buckyball-catcher", "double-walled_nanotube"]
    assert direct("code") == ["Ac-Ala3-NHMe", "double-walled_nanotube"]


def test_scalar_tasks() -> None:
    assert [n for n in recipe_names() if n.startswith("qm9") and finetune_recipe(n).linear_reference] == [
        "qm9-zpve",
        "qm9-u_0",
        "qm9-u",
        "qm9-h",
        "qm9-g",
        "qm9-c_v",
    ]
    extent = finetune_recipe("qm9-r_2_abs")
    assert extent.head == "spatial_extent" and not extent.normalise
    assert {finetune_recipe(n).pooling for n in recipe_names() if n.startswith("qm9")} == {"sum"}
    assert finetune_recipe("matbench-phonons").pooling == "max"
    assert finetune_recipe("matbench-jdft2d").pooling == finetune_recipe("qmof-bandgap").pooling == "mean"
    batches = {
        n.removeprefix("matbench-"): finetune_recipe(n).batch_size for n in recipe_names() if "matbench" in n
    }
    assert batches == {
        "jdft2d": 3,
        "phonons": 8,
        "dielectric": 8,
        "log_gvrh": 8,
        "log_kvrh": 8,
        "perovskites": 8,
        "mp_gap": 2,
        "mp_e_form": 6,
    }
    assert finetune_recipe("qmof-bandgap").cutoff == 19.0 and finetune_recipe("qm9-mu").cutoff == 8.0


def test_units_of_targets_and_of_published_errors() -> None:
    units = {n: (finetune_recipe(n).unit, finetune_recipe(n).reported_in) for n in recipe_names()}
    assert units["rmd17-uracil"] == ("eV/Å", "meV/Å")
    assert units["qm9-u_0"] == ("eV", "meV") and units["qm9-mu"] == ("D", "D")
    assert units["matbench-mp_e_form"] == ("eV/atom", "meV/atom") and units["matbench-mp_gap"] == ("eV", "eV")


def test_layer_rates_by_size_of_the_network() -> None:
    recipe = finetune_recipe("rmd17-ethanol")
    assert recipe.layer_rates(JMP_S.num_blocks) == JMP_S_RATES == (0.30, 0.35, 0.40, 0.55, 0.625)
    assert recipe.layer_rates(JMP_L.num_blocks) == JMP_L_RATES == (0.30, 0.55, 0.40, 0.30, 0.40, 0.55, 0.625)
    assert recipe.layer_rates(2) == ()


def test_settings_of_the_loop() -> None:
    recipe = finetune_recipe("rmd17-ethanol")
    config = recipe.train_config(6, 1.25)
    assert config.optim.lr == 8e-5 and config.optim.weight_decay == 0.1 and config.optim.betas == (0.9, 0.95)
    assert config.optim.clip_value == 1.0 and config.optim.clip_norm is None
    assert config.optim.layer_rates == JMP_L_RATES and config.optim.stages == recipe.stages
    assert (config.loss.energy_weight, config.loss.forces_weight, config.loss.stress_weight) == (
        0.0,
        8.0,
        0.0,
    )
    assert config.loss.forces == "norm" and not config.loss.structure_wise
    assert config.metric == "forces_mae" and config.forces == "conservative" and config.batch_size == 1
    assert finetune_recipe("md22-buckyball-catcher").train_config(4, 1.0).forces == "direct"


def test_from_scratch() -> None:
    recipe, scratch = finetune_recipe("spice-dipeptides"), finetune_recipe("gn-oc-spice-dipeptides")
    assert scratch.from_scratch and scratch.layer_rates(4) == ()
    assert (scratch.lr, scratch.weight_decay, scratch.ema_decay) == (1e-4, 0.01, 0.99)
    assert (scratch.stages.end_epoch, scratch.stages.plateau_patience, scratch.stages.plateau_factor) == (
        0,
        3,
        0.8,
    )
    same = (
        "dataset",
        "member",
        "target",
        "split",
        "cutoff",
        "head",
        "weight",
        "batch_size",
        "patience",
        "max_epochs",
    )
    assert all(getattr(recipe, name) == getattr(scratch, name) for name in same)


def test_pretraining_mixture() -> None:
    small, large = PRETRAIN_RECIPES["pretrain-jmp-s"], PRETRAIN_RECIPES["pretrain-jmp-l"]
    assert (small.global_batch, large.global_batch) == (1024, 768)
    assert [s.name for s in small.sets] == ["oc20", "oc22", "ani1x", "transition1x"]
    assert [s.force_weight for s in small.sets] == [73, 80, 15, 14]
    assert [s.cutoff for s in small.sets] == [12, 12, 8, 8]
    assert small.optim.lr == 3e-4 and small.temperature == 2.0 and small.epochs == 2
    assert small.optim == large.optim
    assert small.disagreements()["optim.lr"]["paper"].startswith("2e-4")
    assert dataclasses.asdict(small)["min_atoms"] == 4
