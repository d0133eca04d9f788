"""Features of atoms and structures: what the network knows of a structure before a head turns it into an
energy.

Example: ``JMPCalculator("jmp-xs").descriptors(frames).mean()`` is one vector per frame, for pictures of a
    data set, outliers, or a choice of diverse frames (docs/descriptors.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .batching import in_batches
from .results import check_results

if TYPE_CHECKING:
    from ase import Atoms

    from ..graph.build import Graph
    from ..model.config import ModelConfig
    from ..model.potential import Layer
    from .evaluator import Evaluator


@dataclass(frozen=True)
class ElementMeans:
    """Means over the atoms of one element of one structure: P pairs of the two, in the order of structures
    and elements."""

    structure: NDArray[np.int64]
    """(P,), counted from 0."""
    number: NDArray[np.int64]
    """(P,), atomic number."""
    mean: NDArray[np.float64]
    """(P, D)."""


@dataclass(frozen=True)
class Descriptors:
    """D features of every atom of S structures with N atoms in all.

    They do not change when a structure is rotated, reflected, moved or repeated, and follow the order of its
    atoms. They have no unit, and only features of the same layer of the same model can be compared.
    """

    per_atom: NDArray[np.floating]
    """(N, D), in the precision of the network; the structures one after the other."""
    offsets: NDArray[np.int64]
    """(S + 1,): structure i has the rows offsets[i] to offsets[i + 1]."""
    numbers: NDArray[np.int64]
    """(N,), atomic numbers."""
    formulas: tuple[str, ...]
    """Of every structure."""

    def of(self, structure: int) -> NDArray[np.floating]:
        """Features of the atoms of one structure, counted from 0, or from the end with -1; shape (n_atoms,
        D).

        Raises:
            UsageError: no structure of that number.
        """
        count = len(self.formulas)
        if not -count <= structure < count:
            raise UsageError(f"There is no structure {structure}.", hint=f"there are {count}, counted from 0")
        structure %= count
        return self.per_atom[self.offsets[structure] : self.offsets[structure + 1]]

    def sum(self) -> NDArray[np.float64]:
        """Sums over the atoms of each structure, shape (S, D): extensive, as an energy is."""
        return np.add.reduceat(self.per_atom, self.offsets[:-1], axis=0, dtype=np.float64)

    def mean(self) -> NDArray[np.float64]:
        """Means over the atoms of each structure, shape (S, D): the same for a cell and its supercells."""
        return self.sum() / np.diff(self.offsets)[:, None]

    def element_means(self) -> ElementMeans:
        """Means over the atoms of each element of each structure."""
        structure = np.repeat(np.arange(len(self.formulas)), np.diff(self.offsets))
        pairs, row = np.unique(np.column_stack([structure, self.numbers]), axis=0, return_inverse=True)
        total = np.zeros((len(pairs), self.per_atom.shape[1]))
        np.add.at(total, row.ravel(), self.per_atom)
        return ElementMeans(
            pairs[:, 0], pairs[:, 1], total / np.bincount(row.ravel(), minlength=len(pairs))[:, None]
        )


def describe(evaluator: Evaluator, structures: Sequence[Atoms], layer: Layer) -> Descriptors:
    """Descriptors of all structures; errors as in ``JMPCalculator.descriptors``."""
    check_layer(layer, evaluator.config)

    def compute(_: Sequence[Atoms], graphs: Sequence[Graph]) -> list[NDArray[np.floating]]:
        features = evaluator.descriptors(graphs, layer).cpu().numpy()
        single = np.split(features, np.cumsum([graph.n_atoms for graph in graphs])[:-1])
        for one in single:
            check_results({"descriptors": one})
        return single

    found = in_batches(evaluator, structures, ("descriptors",), compute)
    empty = np.zeros((0, evaluator.config.backbone.emb_size_atom))
    return Descriptors(
        per_atom=np.concatenate(found) if found else empty,
        offsets=np.cumsum([0, *(len(atoms) for atoms in structures)]),
        numbers=np.concatenate([np.zeros(0, dtype=np.int64), *(atoms.numbers for atoms in structures)]),
        formulas=tuple(atoms.get_chemical_formula() for atoms in structures),
    )


def check_layer(layer: Layer, config: ModelConfig) -> None:
    """UsageError for a layer that the network does not have."""
    blocks = config.backbone.num_blocks
    if layer == "final" or (type(layer) is int and 1 <= layer <= blocks):
        return
    raise UsageError(
        f"layer={layer!r} is not a layer of this network.",
        hint=f"choose 'final', or one of its interaction blocks, 1 to {blocks}",
    )
