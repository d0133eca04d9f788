"""Nequix by JAX: crystals, several packed into one graph of a fixed size.

JAX compiles a program for every shape of its input. So structures are packed one after the other into graphs
that are filled up to one of a few sizes, as many as fit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ModelError
from ..labels import Batches, Labels, TeacherFacts, TeacherSpec
from .digests import file_sha256

if TYPE_CHECKING:
    from ase import Atoms

TOGETHER = Batches(frames=64, atoms=2048)
NODES, EDGES, GRAPHS = 160, 6144, 33
"""Of the smallest filled graph, of which one of each is filling; larger ones double nodes and edges."""
VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))


class Nequix:
    """A model file (.nqx); the energy is the one whose derivatives are given."""

    def __init__(self, spec: TeacherSpec) -> None:
        """ModelError for a file that is no model."""
        if os.environ.get("OMP_NUM_THREADS") == "1":
            one = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
            os.environ.setdefault("XLA_FLAGS", one)
        if spec.device != "auto":
            os.environ.setdefault("JAX_PLATFORMS", spec.device)
        import equinox
        import jraph
        from nequix import data
        from nequix.calculator import from_pretrained

        path = Path(spec.weights or "")
        try:
            model, config = from_pretrained(model_path=path, backend="jax", use_kernel=False)
        except (OSError, ValueError, KeyError, RuntimeError, UnicodeDecodeError) as error:
            raise ModelError(
                f"This is no Nequix model: {error}.", where=str(path), hint="name a .nqx file"
            ) from error
        self._data, self._jraph = data, jraph
        self._run = equinox.filter_jit(model)
        self._indices = data.atomic_numbers_to_indices(config["atomic_numbers"])
        self._cutoff = float(config["cutoff"])
        self.facts = TeacherFacts(
            method=f"PBE+U by {path.stem}",
            version=f"nequix {metadata.version('nequix')}, weights sha256:{file_sha256(path)[:12]}",
            elements=tuple(sorted(config["atomic_numbers"])),
            batches=TOGETHER,
            domain="crystals",
        )
        self.label(_warm_up(config["atomic_numbers"][0]))  # compiled before anybody counts seconds

    def label(self, frames: Sequence[Atoms]) -> list[Labels]:
        """Labels of each structure."""
        graphs = [self._graph(atoms) for atoms in frames]
        answers: list[Labels] = []
        for pack in _packs([(int(graph.n_node[0]), int(graph.n_edge[0])) for graph in graphs]):
            answers += self._packed(graphs[pack])
        return answers

    def _graph(self, atoms: Atoms) -> Any:
        plain = self._data.preprocess_graph(atoms, self._indices, self._cutoff, False)
        return self._data.dict_to_graphstuple(plain)

    def _packed(self, graphs: Sequence[Any]) -> list[Labels]:
        """Labels of graphs that go into one filled one."""
        sizes = [int(graph.n_node[0]) for graph in graphs]
        nodes, edges = _filled(sum(sizes), sum(int(graph.n_edge[0]) for graph in graphs))
        whole = self._jraph.pad_with_graphs(
            self._jraph.batch_np(list(graphs)), n_node=nodes, n_edge=edges, n_graph=GRAPHS
        )
        energies, forces, stresses = (np.asarray(part, dtype=float) for part in self._run(whole))
        energies, ends = energies.reshape(-1), np.cumsum(sizes)
        return [
            Labels(float(energies[number]), forces[end - size : end], stresses[number][VOIGT])
            for number, (end, size) in enumerate(zip(ends, sizes))
        ]


def _filled(nodes: int, edges: int) -> tuple[int, int]:
    """Nodes and edges of the filled graph that takes so many, and at least one more of each."""
    doublings = 0
    while nodes >= NODES << doublings or edges >= EDGES << doublings:
        doublings += 1
    return NODES << doublings, EDGES << doublings


def _packs(sizes: Sequence[tuple[int, int]]) -> Iterator[slice]:
    """Which neighbours in a sequence of graphs, by nodes and edges, share a filled graph of the smallest
    size; one that is larger has its own."""
    start, nodes, edges = 0, 0, 0
    for number, (own_nodes, own_edges) in enumerate(sizes):
        full = nodes + own_nodes >= NODES or edges + own_edges >= EDGES or number - start == GRAPHS - 1
        if number > start and full:
            yield slice(start, number)
            start, nodes, edges = number, 0, 0
        nodes, edges = nodes + own_nodes, edges + own_edges
    if start < len(sizes):
        yield slice(start, len(sizes))


def _warm_up(number: int) -> list[Atoms]:
    from ase import Atoms

    return [Atoms([number], cell=[4.0, 4.0, 4.0], pbc=True)]
