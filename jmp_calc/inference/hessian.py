"""Second derivatives of the energy by automatic differentiation: what vibrations and saddle searches ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase.calculators.calculator import PropertyNotImplementedError
from numpy.typing import NDArray

from ..errors import UsageError
from ..graph.batch import collate
from ..machine.device import free_memory
from ..machine.forks import evaluating
from ..machine.host_memory import allocation_errors
from ..model.cost import GraphCounts
from .memory import SMALL, choose_recompute, estimated_bytes, refuse_if_too_large
from .results import check_results, to_numpy

if TYPE_CHECKING:
    from ase import Atoms

    from ..graph.build import Graph
    from .evaluator import Evaluator


@dataclass(frozen=True)
class Hessian:
    """Second derivatives of the energy of a structure by the positions of n of its atoms."""

    matrix: NDArray[np.float64]
    """(n, 3, n, 3), symmetric, eV/Å²; what ase.vibrations.VibrationsData takes."""
    indices: NDArray[np.int64]
    """(n,), the atoms, in the order of the matrix."""
    asymmetry: float
    """Largest difference between an element and its mirror before the two were averaged, eV/Å²: rounding,
    unless something is wrong."""

    @property
    def square(self) -> NDArray[np.float64]:
        """The matrix as (3n, 3n)."""
        size = 3 * len(self.indices)
        return self.matrix.reshape(size, size)

    @classmethod
    def symmetrised(cls, matrix: NDArray[np.float64], indices: NDArray[np.int64]) -> Hessian:
        """From any estimate (n, 3, n, 3) or (3n, 3n) of the second derivatives, eV/Å²."""
        size = 3 * len(indices)
        raw = np.asarray(matrix, dtype=np.float64).reshape(size, size)
        shape = (len(indices), 3, len(indices), 3)
        return cls((0.5 * (raw + raw.T)).reshape(shape), indices, float(np.abs(raw - raw.T).max(initial=0.0)))


def chosen_atoms(indices: Sequence[int] | NDArray[np.int64] | None, n_atoms: int) -> NDArray[np.int64]:
    """Numbers of atoms, counted from 0 (negative ones from the end), or all for None; shape (n,).

    Raises:
        UsageError: no atom, one that is not there, or one that is named twice.
    """
    if indices is None:
        return np.arange(n_atoms)
    given = np.asarray(indices)
    if given.ndim != 1 or not len(given) or given.dtype.kind not in "iu":
        raise UsageError(
            f"Indices must be a list of numbers of atoms, got {indices!r}.", hint="for example [0, 1, 4]"
        )
    wrong = given[(given < -n_atoms) | (given >= n_atoms)]
    if len(wrong):
        raise UsageError(
            f"There is no atom {wrong[0]}.", hint=f"the structure has {n_atoms} atoms, counted from 0"
        )
    chosen = given.astype(np.int64) % n_atoms
    if len(np.unique(chosen)) < len(chosen):
        raise UsageError("An atom is named twice in the indices.", hint="name every atom once")
    return chosen


def hessian(evaluator: Evaluator, atoms: Atoms, indices: Sequence[int] | None = None) -> Hessian:
    """Hessian of one structure; errors as in ``JMPCalculator.get_hessian``."""
    if evaluator.settings.forces == "direct":
        raise PropertyNotImplementedError(
            "the Hessian is a derivative of the energy, and this calculator was made with forces='direct'"
        )
    chosen = chosen_atoms(indices, len(atoms))
    graph = evaluator.prepare(atoms, ("forces",))
    try:
        rows = _rows(evaluator, graph, chosen)
    except torch.OutOfMemoryError as error:
        raise evaluator.out_of_memory(graph) from error
    check_results({"hessian": rows})
    return Hessian.symmetrised(rows[:, :, chosen, :], chosen)


def _rows(evaluator: Evaluator, graph: Graph, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, 3, N, 3), eV/Å²; the graph of the first derivative is kept, as in training through forces."""
    counts, itemsize = GraphCounts.of(graph), evaluator.potential.dtype.itemsize
    config, choice = evaluator.config, evaluator.settings.activation_checkpointing
    recompute = choose_recompute(config, counts, itemsize, "training", choice, evaluator.device)
    needed = estimated_bytes(config, counts, itemsize, "training", recompute)
    if needed > SMALL:
        refuse_if_too_large(counts.atoms, counts.main, needed, free_memory(evaluator.device))
    with (
        evaluating(),
        torch.inference_mode(False),
        torch.autocast(evaluator.device.type, enabled=False),
        allocation_errors(),
    ):
        batch = collate([graph], device=evaluator.device)
        found = evaluator.potential.hessian(batch, evaluator.head.name, chosen.tolist(), recompute=recompute)
    return to_numpy(found)
