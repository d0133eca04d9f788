"""Batches of a pre-training: a mixed stream of all sets to train on, every validation frame once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from jmp_calc.errors import UsageError
from jmp_calc.model.potential import Potential

from ..batches.dataset import FrameGraphs
from ..batches.loader import Batches
from ..batches.order import Fixed, Mixed
from ..distributed.world import World
from .recipe import PretrainRecipe
from .sets import task_of
from .source_set import Joined, SourceSet

GRAPH_CACHE_BYTES = 4 << 30


def training_batches(
    sets: Sequence[SourceSet],
    recipe: PretrainRecipe,
    potential: Potential,
    device: torch.device,
    workers: int,
    world: World = World(),
) -> Batches:
    """The mixed stream of training frames."""
    mixture, config = recipe.mixture, recipe.train
    sizes = np.concatenate([source.train_sizes for source in sets])
    weights = {item.name: item.weight for item in mixture.sets}
    order = Mixed(
        tuple(len(source.train) for source in sets),
        sizes,
        mixture.temperature,
        config.max_edges_per_batch,
        config.batch_size or 32,
        tuple(weights[source.name] for source in sets),
        recipe.seed,
        config.accumulate,
    )
    graphs = _graphs(sets, [source.train for source in sets], sizes, recipe, potential)
    return Batches(graphs, order, device=device, workers=workers, rank=world.rank, world_size=world.size)


def validation_batches(
    sets: Sequence[SourceSet],
    recipe: PretrainRecipe,
    potential: Potential,
    device: torch.device,
    world: World = World(),
) -> Batches:
    """All validation frames, never re-balanced.

    Raises:
        UsageError: no set has validation frames.
    """
    sizes = np.concatenate([source.valid_sizes for source in sets])
    if not len(sizes):
        raise UsageError(
            "No set has validation frames.",
            where=f"recipe {recipe.mixture.name}",
            hint="raise mixture.validation_fraction or mixture.validation_max, or give valid_records",
        )
    graphs = _graphs(sets, [source.valid for source in sets], sizes, recipe, potential)
    room = max(recipe.train.max_edges_per_batch, int(sizes[:, 1].max()))
    return Batches(
        graphs, Fixed(sizes, max_edges=room), device=device, rank=world.rank, world_size=world.size
    )


def _graphs(
    sets: Sequence[SourceSet],
    frames: Sequence[Sequence[Any]],
    sizes: np.ndarray,
    recipe: PretrainRecipe,
    potential: Potential,
) -> FrameGraphs:
    items = {item.name: item for item in recipe.mixture.sets}
    tasks = [task_of(source, items[source.name], recipe.mixture) for source in sets]
    numbers = np.repeat(np.arange(len(sets), dtype=np.uint8), [len(part) for part in frames])
    return FrameGraphs(
        Joined(frames),
        potential.config.policy,
        tasks,
        task_of=numbers,
        qint_tags=potential.config.backbone.qint_tags,
        cache_bytes=GRAPH_CACHE_BYTES,
        sizes=sizes,
        edge_dropout=recipe.train.edge_dropout,
        dropout_seed=recipe.train.seed,
        dropout_compensation=recipe.train.edge_dropout_compensation,
    )
