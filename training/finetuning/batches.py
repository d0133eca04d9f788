"""Batches of a fine-tuning: the training frames, with replayed ones among them, and the frames for
evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..batches.committee import CommitteeGraphs, CommitteeTurns
from ..batches.dataset import FrameGraphs
from ..batches.loader import Batches
from ..batches.order import Order, Shuffled, evaluation_order
from ..batches.replay import WithReplay
from ..config import TrainConfig
from ..data.frame import Frame
from ..distributed.world import World
from ..targets.fit import task_of_head
from .earlier import EarlierTask
from .prepare import Prepared
from .start import Start

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential


def training_batches(
    prepared: Prepared,
    potential: Potential,
    begun: Start,
    device: torch.device,
    world: World,
) -> Batches:
    """Batches of the training frames in a new order in every epoch, with frames of earlier data where they
    are replayed."""
    config, share = prepared.config, prepared.data.share
    new, room = len(prepared.train), config.max_edges_per_batch
    graphs = _graphs(prepared.train, potential, begun, config, begun.replayed, committee=True)
    order: Order = Shuffled(
        graphs.sizes[:new],
        max_edges=room,
        max_structures=config.batch_size,
        seed=config.seed,
        accumulate=config.accumulate,
    )
    if begun.replayed:
        counts = [len(item.frames) for item in begun.replayed]
        order = WithReplay(order, graphs.sizes, counts, share=share, max_edges=room, seed=config.seed)
    return Batches(graphs, order, device=device, rank=world.rank, world_size=world.size)


def evaluation_batches(
    frames: Sequence[Frame],
    potential: Potential,
    begun: Start,
    config: TrainConfig,
    device: torch.device,
    world: World,
) -> Batches:
    """The same batches in every epoch, for evaluation."""
    graphs = _graphs(frames, potential, begun, config)
    return Batches(
        graphs, evaluation_order(graphs.sizes, config), device=device, rank=world.rank, world_size=world.size
    )


def _graphs(
    frames: Sequence[Frame],
    potential: Potential,
    begun: Start,
    config: TrainConfig,
    earlier: Sequence[EarlierTask] = (),
    *,
    committee: bool = False,
) -> FrameGraphs:
    """Frames under the new head, or in training the heads of its ``committee``, followed by earlier ones
    under theirs."""
    model = potential.config
    tasks = [task_of_head(begun.head, begun.head.target), *(item.task for item in earlier)]
    counts = [len(frames), *(len(item.frames) for item in earlier)]
    members = begun.head.committee if committee else ()
    kind = CommitteeGraphs if members else FrameGraphs
    graphs = kind(
        [*frames, *(frame for item in earlier for frame in item.frames)],
        model.policy,
        tasks,
        task_of=np.repeat(np.arange(len(tasks)), counts),
        qint_tags=model.backbone.qint_tags,
        edge_dropout=config.edge_dropout,
        dropout_seed=config.seed,
        dropout_compensation=config.edge_dropout_compensation,
    )
    if isinstance(graphs, CommitteeGraphs):
        graphs.turns = CommitteeTurns(len(frames), members, config.seed)
    return graphs
