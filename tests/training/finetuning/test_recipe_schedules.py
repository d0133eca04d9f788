"""Parameter groups and learning-rate curves of all 41 recipes against the published numbers (training.md 15
to 17)."""

from __future__ import annotations

import math
from functools import cache

import pytest

from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.model.config import JMP_L, JMP_S, HeadConfig, ModelConfig
from jmp_calc.model.potential import Potential
from jmp_calc.model.shapes import shapes_only
from jmp_calc.training.finetuning.recipe import HeadKind
from jmp_calc.training.finetuning.recipes import finetune_recipe, recipe_names
from jmp_calc.training.optim.optimizer import Schedule, make_optimizer
from jmp_calc.training.optim.schedules import GroupRates

NETWORKS = {"JMP-S": JMP_S, "JMP-L": JMP_L}
SHARES = {
    "JMP-S": (0.30, 0.35, 0.40, 0.55, 0.625, 1.0),
    "JMP-L": (0.30, 0.55, 0.40, 0.30, 0.40, 0.55, 0.625, 1.0),
}  # fmt: skip
"""Embedding, blocks 1, 2, ..., everything else."""
START_AND_PEAK = {
    0.30: (2.4e-6, 2.4e-5),
    0.35: (2.8e-6, 2.8e-5),
    0.40: (3.2e-6, 3.2e-5),
    0.55: (4.4e-6, 4.4e-5),
    0.625: (5.0e-6, 5.0e-5),
    1.0: (8.0e-6, 8.0e-5),
}
"""By share of the peak 8e-5; the warm-up starts at a tenth."""
E = 10
"""Optimizer steps per epoch in these tests."""

both = pytest.mark.parametrize("network", NETWORKS)
every = pytest.mark.parametrize("name", recipe_names())


@cache
def network_of(network: str, kind: HeadKind, bias: bool, direct: bool) -> Potential:
    """Names and shapes of a published network with the head of a recipe."""
    head = HeadConfig("new", kind=kind, bias=bias, direct_forces=direct)
    with shapes_only():
        return Potential(ModelConfig(NETWORKS[network], GraphPolicy("official"), (head,)))


@every
@both
def test_every_weight_is_in_one_group_with_its_share(name: str, network: str) -> None:
    recipe = finetune_recipe(name)
    potential = network_of(network, recipe.head, recipe.head_bias, recipe.force_mode == "direct")
    optimizer = make_optimizer(potential, recipe.train_config(NETWORKS[network].num_blocks, 1.0).optim)
    found = {id(p): group["lr_factor"] for group in optimizer.param_groups for p in group["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(found)
    blocks = SHARES[network][1:-1]

    def published(weight: str) -> float:
        part, *rest = weight.split(".")
        if part == "embedding":
            return 0.30
        if rest[0] == "int_blocks":
            return blocks[int(rest[1])]
        return blocks[max(int(rest[1]), 1) - 1] if rest[0] == "out_blocks" else 1.0

    assert {weight: found[id(p)] for weight, p in potential.named_parameters()} == {
        weight: published(weight) for weight, _ in potential.named_parameters()
    }
    assert all(
        (group["weight_decay"], group["betas"], group["eps"]) == (0.1, (0.9, 0.95), 1e-8)
        for group in optimizer.param_groups
    )


@every
@both
def test_the_learning_rates_of_all_groups(name: str, network: str) -> None:
    """t = 0, W - 1, W, (W + M) / 2, M - 1, M with W = 5 epochs and M = 32; rMD17: M = 128, down to 1 % of the
    peak."""
    recipe, shares = finetune_recipe(name), SHARES[network]
    optim = recipe.train_config(NETWORKS[network].num_blocks, 1.0).optim
    rates = GroupRates(optim, shares, Schedule(optim, None, None), E)
    warm, end, last = (5 * E, 128 * E, 8e-7) if name.startswith("rmd17") else (5 * E, 32 * E, 8e-6)
    before_end = 0.5 * (1 + math.cos(math.pi * (end - 1 - warm) / (end - warm)))
    assert 0 < before_end < 1e-4
    for step, expected in {
        0: [START_AND_PEAK[share][0] for share in shares],
        warm - 1: [START_AND_PEAK[share][1] for share in shares],
        warm: [START_AND_PEAK[share][1] for share in shares],
        (warm + end) // 2: [0.5 * (START_AND_PEAK[share][1] + last) for share in shares],
        end - 1: [last + (START_AND_PEAK[share][1] - last) * before_end for share in shares],
        end: [last for _ in shares],
        2 * end: [last for _ in shares],
    }.items():
        assert rates.at(step, 0.0, None) == pytest.approx(expected, rel=1e-9), step


@every
def test_plateau_and_end(name: str) -> None:
    """The fourth bad validation (rMD17: the eleventh) takes a fifth off every rate; nothing is remembered
    from before."""
    recipe = finetune_recipe(name)
    optim = recipe.train_config(4, 1.0).optim
    rmd17 = name.startswith("rmd17")
    end, last, patience = (128 * E, 8e-7, 10) if rmd17 else (32 * E, 8e-6, 3)
    rates, shares = GroupRates(optim, SHARES["JMP-S"], Schedule(optim, None, None), E), SHARES["JMP-S"]
    assert rates.after_validation(end - 1, 1.0, None) is None
    plateau = rates.after_validation(end, 1.0, None)
    for _ in range(patience):
        assert rates.at(end, 0.0, plateau) == pytest.approx([last] * len(shares))
        plateau = rates.after_validation(end, 1.0, plateau)
    plateau = rates.after_validation(end, 1.0, plateau)
    assert rates.at(end, 0.0, plateau) == pytest.approx([0.8 * last] * len(shares))
    assert optim.stages is not None
    assert (optim.stages.plateau_threshold, optim.stages.stop_below) == (1e-4, 1e-10 if rmd17 else 1e-8)
    assert (recipe.max_epochs, recipe.patience, recipe.max_time) == (
        (100_000, 1000) if rmd17 else (500, 50)
    ) + (604_800.0,)


def test_cap_by_size_of_the_structure_in_the_right_recipes() -> None:
    def capped(variant: str) -> set[str]:
        found = (finetune_recipe(name, variant) for name in recipe_names())  # type: ignore[arg-type]
        return {recipe.dataset for recipe in found if recipe.conditional_neighbors}

    assert capped("default") == capped("code") == {"qmof", "matbench"} and capped("paper") == {"qmof"}
