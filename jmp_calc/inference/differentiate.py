"""Second derivatives of the energy by automatic differentiation, for vibrations and saddle searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase.calculators.calculator import PropertyNotImplementedError
from numpy.typing import NDArray

from ..graph.batch import collate
from ..hessian import Hessian, chosen_atoms
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


def hessian(evaluator: Evaluator, atoms: Atoms, indices: Sequence[int] | None = None) -> Hessian:
    """Hessian of one structure; errors as in ``JMPCalculator.get_hessian``."""
    chosen = chosen_atoms(indices, len(atoms))
    return Hessian.symmetrised(hessian_rows(evaluator, atoms, chosen)[:, :, chosen, :], chosen)


def hessian_rows(
    evaluator: Evaluator, atoms: Atoms, indices: Sequence[int] | NDArray[np.int64]
) -> NDArray[np.float64]:
    """Second derivatives (n, 3, N, 3) by the positions of n atoms and of all, eV/Å², as they are; errors as
    in ``JMPCalculator.get_hessian``."""
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
    return rows


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
