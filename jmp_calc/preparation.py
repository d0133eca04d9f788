"""What can be said of a structure without a network's weights: whether a head covers it, and its graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import ModelError
from .graph.neighbours import NeighbourSearch, neighbour_edges
from .info import symbols
from .settings import uncovered

if TYPE_CHECKING:
    from ase import Atoms

    from .graph.build import Graph
    from .model.config import HeadConfig, ModelConfig


def check_covered(config: ModelConfig, head: HeadConfig, numbers: np.ndarray, model: str) -> None:
    """ModelError for elements that the head was not trained on, with the heads of ``model`` that cover them all."""
    missing = uncovered(head, numbers)
    if not missing:
        return
    others = [
        other.name
        for other in config.heads
        if other.kind == "energy" and other.elements is not None and not uncovered(other, numbers)
    ]
    fit = f"heads that cover this structure: {', '.join(others)}; choose one with head='NAME' (--head NAME)"
    raise ModelError(
        f"head {head.name!r} was not trained on {', '.join(symbols(missing))}; "
        f"it covers {' '.join(symbols(head.elements or ()))}",
        hint=fit if others else f"no head of {model} covers this structure",
    )


def check_known(config: ModelConfig, numbers: np.ndarray, model: str) -> None:
    """ModelError for elements that no head of ``model`` was trained on: their features would be arbitrary."""
    unknown = set(numbers.tolist()).intersection(*(uncovered(head, numbers) for head in config.heads))
    if unknown:
        raise ModelError(f"no head of {model} was trained on {', '.join(symbols(unknown))}",
                         hint="leave out these structures, or choose a model that knows them")


def structure_graph(atoms: Atoms, config: ModelConfig, search: NeighbourSearch = neighbour_edges) -> Graph:
    """The neighbour graphs of one structure (numpy) under the graph policy of ``config``."""
    from .graph.build import build_graph

    policy = config.policy
    tags = atoms.get_tags() if policy.tags == "atoms" else None
    return build_graph(
        np.array(atoms.positions, dtype=float), np.array(atoms.numbers), atoms.cell.array.copy(),
        np.array(atoms.pbc), policy, tags, config.backbone.qint_tags, search,
    )  # fmt: skip
