"""Scalars (band gaps, formation energies, ...), classes and vectors of structures, from models whose head
gives them.

Examples: ``predict(ase.io.read("crystals.xyz", ":"), model="run/best.safetensors")`` after ``jmp-calc
    finetune train.xyz --target gap``; ``predict_classes(...).names`` after ``--target is_metal --target-kind
    class``; ``predict_vectors`` after ``--target dipole --target-kind vector``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ..arguments import structure_list
from ..graph.build import Graph
from ..graph.policy import PolicyName
from ..model.config import HeadConfig
from .batching import evaluate_many, in_batches
from .evaluator import Evaluator
from .results import check_results, to_numpy
from .settings import Elements, Settings, portable

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True, eq=False)
class ClassPrediction:
    """Probabilities of K classes for S structures."""

    classes: tuple[str, ...]
    """(K,) names; of an official checkpoint, which has none, numbers from 0."""
    probabilities: NDArray[np.float64]
    """(S, K); each row adds up to 1."""

    @property
    def names(self) -> tuple[str, ...]:
        """(S,) the most probable class of each structure."""
        return tuple(self.classes[i] for i in self.probabilities.argmax(axis=1))


def predict(
    structures: Atoms | Iterable[Atoms],
    *,
    model: str | os.PathLike[str],
    head: str | None = Settings.head,
    device: str = Settings.device,
    dtype: str = Settings.dtype,
    weights: Literal["ema", "raw", "official-ft"] = Settings.weights,
    graph: PolicyName | None = Settings.graph,
    elements: Elements = Settings.elements,
) -> NDArray[np.float64]:
    """The scalar of every structure, in the units of the labels that the head was trained on.

    Args:
        structures: one structure or several, of any size and periodicity.
        model: path of a .safetensors file of ours, or of an official .pt file, with such a head.
        head: head of the model that gives scalars; the file's default head if none is given. Default: None.
        device: where the network runs: auto (CUDA if there is one), cpu, cuda or cuda:N. Default: "auto".
        dtype: precision of the network, float32 or float64. Default: "float32".
        weights: which weights of an official checkpoint: ema (averaged), raw or official-ft. Default: "ema".
        graph: graph policy, official or smooth; the file's if none is given. Default: None.
        elements: elements that are accepted: "trained", those that the head was trained on, or "any", with a
            warning: to compare with other code, for what it gives there is arbitrary. Default: "trained".

    Returns:
        shape (structures,).

    Raises:
        ModelError: no such model or head, the head gives something else, or does not know an element.
        UsageError: a setting that is none of its choices.
        BadStructureError: naming the structure.
    """
    settings = Settings(
        model=portable(model),
        head=head,
        device=device,
        dtype=dtype,
        weights=weights,
        graph=graph,
        elements=elements,
    )
    return scalars(Evaluator(settings, gives="scalar"), structures)


def predict_classes(
    structures: Atoms | Iterable[Atoms],
    *,
    model: str | os.PathLike[str],
    head: str | None = Settings.head,
    device: str = Settings.device,
    dtype: str = Settings.dtype,
    weights: Literal["ema", "raw", "official-ft"] = Settings.weights,
    graph: PolicyName | None = Settings.graph,
    elements: Elements = Settings.elements,
) -> ClassPrediction:
    """The class of every structure, and the probabilities of all classes.

    Args:
        structures: one structure or several, of any size and periodicity.
        model: path of a .safetensors file of ours, or of an official .pt file, with such a head.
        head: head of the model that gives classes; the file's default head if none is given. Default: None.
        device: where the network runs: auto (CUDA if there is one), cpu, cuda or cuda:N. Default: "auto".
        dtype: precision of the network, float32 or float64. Default: "float32".
        weights: which weights of an official checkpoint: ema (averaged), raw or official-ft. Default: "ema".
        graph: graph policy, official or smooth; the file's if none is given. Default: None.
        elements: elements that are accepted: "trained", those that the head was trained on, or "any", with a
            warning: to compare with other code, for what it gives there is arbitrary. Default: "trained".

    Returns:
        names (structures,) and probabilities (structures, classes).

    Raises:
        ModelError: no such model or head, the head gives something else, or does not know an element.
        UsageError: a setting that is none of its choices.
        BadStructureError: naming the structure.
    """
    settings = Settings(
        model=portable(model),
        head=head,
        device=device,
        dtype=dtype,
        weights=weights,
        graph=graph,
        elements=elements,
    )
    return classes(Evaluator(settings, gives="class"), structures)


def predict_vectors(
    structures: Atoms | Iterable[Atoms],
    *,
    model: str | os.PathLike[str],
    head: str | None = Settings.head,
    device: str = Settings.device,
    dtype: str = Settings.dtype,
    weights: Literal["ema", "raw", "official-ft"] = Settings.weights,
    graph: PolicyName | None = Settings.graph,
    elements: Elements = Settings.elements,
) -> NDArray[np.float64]:
    """The vector of every structure, in the units of the labels; it rotates with the structure.

    Args:
        structures: one structure or several, of any size and periodicity.
        model: path of a .safetensors file of ours, or of an official .pt file, with such a head.
        head: head of the model that gives vectors; the file's default head if none is given. Default: None.
        device: where the network runs: auto (CUDA if there is one), cpu, cuda or cuda:N. Default: "auto".
        dtype: precision of the network, float32 or float64. Default: "float32".
        weights: which weights of an official checkpoint: ema (averaged), raw or official-ft. Default: "ema".
        graph: graph policy, official or smooth; the file's if none is given. Default: None.
        elements: elements that are accepted: "trained", those that the head was trained on, or "any", with a
            warning: to compare with other code, for what it gives there is arbitrary. Default: "trained".

    Returns:
        shape (structures, 3).

    Raises:
        ModelError: no such model or head, the head gives something else, or does not know an element.
        UsageError: a setting that is none of its choices.
        BadStructureError: naming the structure.
    """
    settings = Settings(
        model=portable(model),
        head=head,
        device=device,
        dtype=dtype,
        weights=weights,
        graph=graph,
        elements=elements,
    )
    return vectors(Evaluator(settings, gives="vector"), structures)


def scalars(evaluator: Evaluator, structures: Atoms | Iterable[Atoms]) -> NDArray[np.float64]:
    """``predict`` with a model that is open: (S,)."""
    results = evaluate_many(evaluator, structure_list(structures), ("energy",))
    return np.array([found["energy"] for found in results], dtype=np.float64)


def classes(evaluator: Evaluator, structures: Atoms | Iterable[Atoms]) -> ClassPrediction:
    """``predict_classes`` with a model that is open."""
    names = class_names(evaluator.head)
    return ClassPrediction(names, probabilities(_outputs(evaluator, structures, len(names))))


def vectors(evaluator: Evaluator, structures: Atoms | Iterable[Atoms]) -> NDArray[np.float64]:
    """``predict_vectors`` with a model that is open: (S, 3)."""
    return _outputs(evaluator, structures, 3)


def class_names(head: HeadConfig) -> tuple[str, ...]:
    """Names of the classes of a head, numbers from 0 where it has none."""
    return head.classes or tuple(str(i) for i in range(2 if head.kind == "binary" else head.num_classes))


def probabilities(outputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Softmax of logits (S, K); of a single logit (S, 1) the probabilities of no and yes, shape (S, 2)."""
    logits = np.concatenate([np.zeros_like(outputs), outputs], axis=1) if outputs.shape[1] == 1 else outputs
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares


def _outputs(evaluator: Evaluator, structures: Atoms | Iterable[Atoms], width: int) -> NDArray[np.float64]:
    """(S, width) what the head gives, finite; (S, 1) of a binary head."""
    many = structure_list(structures)
    width = 1 if evaluator.head.kind == "binary" else width

    def compute(_: Sequence[Atoms], graphs: Sequence[Graph]) -> list[NDArray[np.float64]]:
        rows = to_numpy(evaluator.predict(graphs, forces=False, stress=False).energy).reshape(
            len(graphs), width
        )
        for row in rows:
            check_results({evaluator.head.kind: row})
        return list(rows)

    return np.array(in_batches(evaluator, many, ("energy",), compute), dtype=np.float64).reshape(
        len(many), width
    )
