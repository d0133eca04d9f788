"""Every recipe with the networks of the paper: official layout, random weights, one optimizer step on two
cores.

Slow (minutes of CPU for JMP-S, an hour for JMP-L): ``pytest -m slow
tests/training/finetuning/test_recipes_full_size.py -k jmp-s``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.model.config import JMP_L, JMP_S, BackboneConfig, HeadConfig, ModelConfig
from jmp_calc.model.potential import Potential
from jmp_calc.model.shapes import shapes_only
from jmp_calc.training.finetuning.recipe import FinetuneRecipe
from jmp_calc.training.finetuning.recipes import finetune_recipe, recipe_names
from jmp_calc.training.optim.optimizer import layer_groups
from tests.training.helpers.one_step import one_step
from tests.training.helpers.small_sets import write_official_network

pytestmark = pytest.mark.slow
BACKBONES = {"jmp-s": JMP_S, "jmp-l": JMP_L}
CASES = [(network, name) for network in BACKBONES for name in recipe_names()]
"""The pre-training runs of the paper belong here too once they can be run."""

ENERGIES_ONLY = r"out_blocks\.\d+\.(dense_rbf|layers|seq_energy2)\.|out_mlp_E|heads\.new\.energy"
FORCES_ONLY = r"out_blocks\.\d+\.(dense_rbf_F|seq_forces)\.|out_mlp_F|heads\.new\.forces"


@dataclass(frozen=True)
class Network:
    """A file with random weights."""

    path: Path
    backbone: BackboneConfig


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Network]:
    """Filled when a network is needed first."""
    folder = tmp_path_factory.mktemp("networks")
    return {name: Network(folder / f"{name}.safetensors", backbone) for name, backbone in BACKBONES.items()}


@pytest.mark.parametrize("network, name", CASES, ids=[f"{network}-{name}" for network, name in CASES])
def test_one_step(tmp_path: Path, networks: dict[str, Network], network: str, name: str) -> None:
    """The loss is finite, the groups have their rates, and every weight moves that the loss depends on."""
    chosen, recipe = networks[network], finetune_recipe(name)
    if not chosen.path.exists():
        write_official_network(chosen.path, chosen.backbone)
    done = one_step(name, chosen.path, chosen.backbone.num_blocks, tmp_path)
    first, last = done.result.history
    assert (done.result.n_steps, first.step, last.step) == (1, 0, 1)
    assert math.isfinite(last.train_loss) and last.train_loss > 0
    bare = trained_network(chosen.backbone, recipe)
    groups = layer_groups(bare, recipe.layer_rates(chosen.backbone.num_blocks))
    rates, sizes = zip(*done.witness.rates)
    assert rates == pytest.approx([0.1 * 8e-5 * share for share, _ in groups])
    assert list(sizes) == [sum(p.numel() for p in group) for _, group in groups]
    assert done.witness.unmoved == 0
    assert done.witness.without_gradient == sum(
        p.numel() for n, p in bare.named_parameters() if unused(n, recipe)
    )


def trained_network(backbone: BackboneConfig, recipe: FinetuneRecipe) -> Potential:
    """Names and shapes of what the recipe trains."""
    head = HeadConfig(
        "new", kind=recipe.head, bias=recipe.head_bias, direct_forces=recipe.force_mode == "direct"
    )
    with shapes_only():
        return Potential(ModelConfig(backbone, GraphPolicy("official"), (head,)))


def unused(weight: str, recipe: FinetuneRecipe) -> bool:
    """Energies do not depend on the branch for direct forces, nor direct forces on that for energies."""
    return re.search(ENERGIES_ONLY if recipe.force_mode == "direct" else FORCES_ONLY, weight) is not None
