"""Pairs of elements that stand side by side in a structure and never did in the training data of a head.

A head may know Ni and O from the metal and from molecules, and nothing of NiO: every element is covered, and
forces are wrong by electronvolts per Å.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from ..errors import JMPWarning
from ..model.elements import pair_name, symbol

if TYPE_CHECKING:
    from ..graph.build import Graph
    from ..model.config import HeadConfig

NAMED = 3
"""Pairs that one warning describes; of the others it gives the number."""


def unseen_pairs(head: HeadConfig, graph: Graph, told: Collection[str] = ()) -> dict[str, tuple[int, int]]:
    """Pairs of elements with a main edge that the training data of ``head`` have not, by name, with the atoms
    of the first such edge; none where the pairs of the head are not known, or an element is uncovered (which
    is told before). Pairs ``told`` already are not looked for: this stands in every step of a dynamics."""
    if head.pairs is None:
        return {}
    present = np.unique(graph.numbers)
    if head.elements is not None:
        present = np.intersect1d(present, head.elements)
    names = {pair_name(int(a), int(b)): (a, b) for i, a in enumerate(present) for b in present[i:]}
    strange = {name: pair for name, pair in names.items() if name not in head.pairs and name not in told}
    if not strange:
        return {}
    first, second = graph.numbers[graph.main.source], graph.numbers[graph.main.target]
    found = {}
    for name, (a, b) in strange.items():
        edges = np.flatnonzero((first == a) & (second == b))
        if len(edges):
            place = int(edges[0])
            atoms = int(graph.main.source[place]), int(graph.main.target[place])
            found[name] = atoms
    return found


def warn_of_unseen_pairs(
    head: HeadConfig, pairs: dict[str, tuple[int, int]], numbers: np.ndarray, addition: str
) -> None:
    """One JMPWarning that names pairs of ``unseen_pairs`` and atoms, with an ``addition`` at its end; atomic
    numbers of shape (N,)."""
    told = [
        f"{name} (atoms {i} {symbol(int(numbers[i]))} and {j} {symbol(int(numbers[j]))})"
        for name, (i, j) in list(pairs.items())[:NAMED]
    ]
    more = f" and {len(pairs) - NAMED} more pairs" if len(pairs) > NAMED else ""
    warnings.warn(
        JMPWarning(
            f"The training data of head {head.name!r} have no neighbours {', '.join(told)}{more}: "
            f"what it gives there is a guess{addition}."
        ),
        stacklevel=2,
    )
