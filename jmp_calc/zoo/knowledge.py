"""What a model file knows of its training data in arrays: pairs of heads, statistics of features.

They lie among the tensors of the file, under names of their own:

==========================================  ===============  ======================================
``knowledge.heads.NAME.pairs``              (P, 3) float64   Z_i <= Z_j and the shortest distance, Å
``knowledge.heads.NAME.covariance``         (F, F) float64   see HeadStatistics
``knowledge.heads.NAME.calibration``        (4,) float64     structures, regulariser, scale, force factor
``knowledge.elements.numbers``, ``counts``  (Z,) int64       see ElementStatistics
``knowledge.elements.mean``                 (Z, D) float32
``knowledge.elements.covariance``           (Z, D, D) float32
==========================================  ===============  ======================================
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..model.config import HeadConfig, ModelConfig
from ..model.elements import pair_name, pair_numbers
from .header import TensorEntry

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "knowledge."
"""Begins the names of these arrays, and of no weight."""
CALIBRATION = 4
"""Numbers of a calibration; three in files without a force factor."""
_ELEMENTS = ("numbers", "counts", "mean", "covariance")


@dataclass(frozen=True, eq=False)
class HeadStatistics:
    """What the uncertainty of a head's energies is computed from."""

    covariance: NDArray[np.float64]
    """(F, F) mean over training structures of f fᵀ, not centred: f (F,) is the sum over the atoms of a
    structure of what enters the last layer of the head, less the same of lone atoms where the network
    subtracts these (``Potential.readout``)."""
    structures: int
    """Structures that the mean is over."""
    regulariser: float
    """Added to the diagonal of the covariance before it is inverted."""
    scale: float
    """eV: the standard deviation of an energy is ``scale · √(fᵀ (covariance + regulariser)⁻¹ f)``, so that it
    is right on held-out frames."""
    force_factor: float = 1.0
    """What the deviations of forces, as derivatives of those directions, are multiplied by to be right on
    held-out frames; 1 in files that do not have it."""


@dataclass(frozen=True, eq=False)
class ElementStatistics:
    """Where the descriptors of the training data lie, by element of the atom."""

    numbers: NDArray[np.int64]
    """(Z,) atomic numbers, ascending."""
    counts: NDArray[np.int64]
    """(Z,) atoms that the statistics are over."""
    mean: NDArray[np.float32]
    """(Z, D) of the final descriptors (``docs/descriptors.md``)."""
    covariance: NDArray[np.float32]
    """(Z, D, D) about the mean."""


@dataclass(frozen=True, eq=False)
class Knowledge:
    """Statistics of a network on its training data; of another network, or after training, they are wrong."""

    heads: dict[str, HeadStatistics] = field(default_factory=dict)
    """By name of the head; those that have any."""
    elements: ElementStatistics | None = None


def feature_width(head: HeadConfig, config: ModelConfig) -> int:
    """F, what enters the last layer of an energy head."""
    return head.hidden if head.num_layers > 1 else config.backbone.emb_size_atom


def without_arrays(config: ModelConfig) -> ModelConfig:
    """The configuration without what the file has as arrays."""
    heads = tuple(dataclasses.replace(head, pairs=None) for head in config.heads)
    return dataclasses.replace(config, heads=heads)


def arrays_of(knowledge: Knowledge, config: ModelConfig) -> dict[str, NDArray[np.generic]]:
    """The arrays that stand for the knowledge and for the pairs of the heads, by name, as the file has them;
    ModelError for statistics of a head that there is not."""
    strange = sorted(set(knowledge.heads) - {head.name for head in config.heads})
    if strange:
        raise ModelError(f"There is no head {strange[0]!r} to have statistics.")
    arrays: dict[str, NDArray[np.generic]] = {}
    for head in config.heads:
        prefix = f"{PREFIX}heads.{head.name}."
        if head.pairs is not None:
            rows = sorted((*pair_numbers(name), shortest) for name, shortest in head.pairs.items())
            arrays[f"{prefix}pairs"] = np.array(rows, dtype=np.float64).reshape(-1, 3)
        known = knowledge.heads.get(head.name)
        if known is not None:
            numbers = (known.structures, known.regulariser, known.scale, known.force_factor)
            arrays[f"{prefix}covariance"] = np.asarray(known.covariance, dtype=np.float64)
            arrays[f"{prefix}calibration"] = np.array(numbers, dtype=np.float64)
    if knowledge.elements is not None:
        for name, dtype in zip(_ELEMENTS, (np.int64, np.int64, np.float32, np.float32), strict=True):
            arrays[f"{PREFIX}elements.{name}"] = np.asarray(getattr(knowledge.elements, name), dtype=dtype)
    return arrays


def check_layout(entries: Mapping[str, TensorEntry], config: ModelConfig) -> None:
    """ModelError for an array that there is not, or of another type or shape, before any is read."""
    known = dict(_layouts(config))
    for name, entry in entries.items():
        if name not in known:
            raise ModelError(f"There is no knowledge called {name!r}.")
        dtype, shape, most = known[name]
        rows = entry.shape[:1] if most is not None else ()
        fits = entry.shape == (*rows, *shape) and (most is None or (len(rows) == 1 and rows[0] <= most))
        if entry.dtype != dtype or not fits:
            raise ModelError(f"{name} is {entry.dtype} of shape {entry.shape}.", hint="write the file again")


def _layouts(config: ModelConfig) -> Iterator[tuple[str, tuple[str, tuple[int, ...], int | None]]]:
    """Name of every array that may be there: type, shape, and the most rows that come before it, if their
    number is free."""
    elements = config.backbone.num_elements
    for head in config.heads:
        prefix, width = f"{PREFIX}heads.{head.name}.", feature_width(head, config)
        yield f"{prefix}pairs", ("float64", (3,), elements * (elements + 1) // 2)
        if head.kind == "energy":
            yield f"{prefix}covariance", ("float64", (width, width), None)
            yield f"{prefix}calibration", ("float64", (), CALIBRATION)
    features = config.backbone.emb_size_atom
    shapes = ((), (), (features,), (features, features))
    for name, shape in zip(_ELEMENTS, shapes, strict=True):
        dtype = "int64" if not shape else "float32"
        yield f"{PREFIX}elements.{name}", (dtype, shape, elements)


def from_tensors(tensors: Mapping[str, Tensor], config: ModelConfig) -> tuple[ModelConfig, Knowledge]:
    """The configuration with the pairs of its heads, and the knowledge, from arrays whose layout was checked.

    Raises:
        ModelError: numbers that are none of elements, distances, counts or covariances, or parts that lack
            others.
    """
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    heads, statistics = [], {}
    for head in config.heads:
        prefix = f"{PREFIX}heads.{head.name}."
        rows = arrays.get(f"{prefix}pairs")
        heads.append(head if rows is None else dataclasses.replace(head, pairs=_pairs(rows, head.name)))
        parts = arrays.get(f"{prefix}covariance"), arrays.get(f"{prefix}calibration")
        _require(
            (parts[0] is None) == (parts[1] is None), f"half of the statistics of {head.name} are missing"
        )
        if parts[0] is not None and parts[1] is not None:
            statistics[head.name] = _statistics(parts[0], parts[1], head.name)
    return dataclasses.replace(config, heads=tuple(heads)), Knowledge(statistics, _elements(arrays, config))


def _pairs(rows: NDArray[np.float64], head: str) -> dict[str, float]:
    numbers = [(int(one), int(other)) for one, other in rows[:, :2].tolist()]
    right = np.array_equal(rows[:, :2], np.array(numbers).reshape(-1, 2)) and bool((rows[:, :2] >= 1).all())
    ascending = numbers == sorted(set(numbers)) and all(one <= other for one, other in numbers)
    _require(right and ascending, f"the pairs of {head} are no ascending atomic numbers")
    return {pair_name(*pair): float(shortest) for pair, shortest in zip(numbers, rows[:, 2], strict=True)}


def _statistics(
    covariance: NDArray[np.float64], calibration: NDArray[np.float64], head: str
) -> HeadStatistics:
    _require(len(calibration) >= CALIBRATION - 1, f"numbers of the calibration of {head} are missing")
    structures, regulariser, scale, force_factor = [*calibration.tolist(), 1.0][:CALIBRATION]
    counted = structures >= 1 and structures == math.floor(structures)
    positive = regulariser >= 0 and scale > 0 and force_factor > 0
    _require(counted and positive, f"the calibration of {head} is not positive")
    _require_covariance(covariance, head)
    return HeadStatistics(covariance, int(structures), regulariser, scale, force_factor)


def _elements(arrays: Mapping[str, NDArray[np.generic]], config: ModelConfig) -> ElementStatistics | None:
    found = [arrays.get(f"{PREFIX}elements.{name}") for name in _ELEMENTS]
    parts = [part for part in found if part is not None]
    if not parts:
        return None
    _require(len(parts) == len(found), "a part of the statistics of elements is missing")
    numbers, counts, mean, covariance = parts
    _require(len({len(part) for part in parts}) == 1, "statistics of elements have several lengths")
    listed = numbers.tolist()
    known = listed == sorted(set(listed)) and all(1 <= z < config.backbone.num_elements for z in listed)
    _require(known, "statistics are of no ascending atomic numbers")
    _require(bool((np.asarray(counts, dtype=np.int64) >= 1).all()), "statistics are of no atoms")
    _require_covariance(covariance, "elements")
    return ElementStatistics(numbers, counts, mean, covariance)  # type: ignore[arg-type]


def _require_covariance(covariance: NDArray[np.generic], what: str) -> None:
    values = np.asarray(covariance, dtype=np.float64)
    diagonal = np.diagonal(values, axis1=-2, axis2=-1)
    symmetric = np.allclose(
        values, np.swapaxes(values, -1, -2), rtol=1e-4, atol=1e-6 * float(diagonal.max(initial=0))
    )
    _require(symmetric and bool((diagonal >= 0).all()), f"a covariance of {what} is none")


def _require(condition: bool, fact: str) -> None:
    if not condition:
        raise ModelError(f"The knowledge in the file is damaged: {fact}.", hint="write the file again")
