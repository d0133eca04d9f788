"""How far the energy jumps where neighbours swap: measured on the user's structure, not quoted from a paper.

Along small random displacements the first change of the edge lists is bracketed to about 1e-7 Å by bisection,
which needs graphs only; the energy step across the bracket beyond the work of the forces is then the jump
itself.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..errors import JMPWarning

if TYPE_CHECKING:
    from ase import Atoms

    from ..graph.build import Graph
    from .info import ModelInfo

BRACKET = 1e-5
"""Relative length of the bracket around a swap; the force work across it is negligible and subtracted
anyway."""


class GraphCalculator(Protocol):
    """An ASE calculator that can show its edges, such as ``JMPCalculator``."""

    @property
    def info(self) -> ModelInfo:
        """Its model, with the graph policy."""
        ...

    def build_graph(self, atoms: Atoms) -> Graph:
        """The selected graphs of a structure."""
        ...

    def get_forces(self, atoms: Atoms) -> np.ndarray:
        """(N, 3) eV/Å."""
        ...

    def get_potential_energy(self, atoms: Atoms) -> float:
        """eV."""
        ...


@dataclass(frozen=True)
class JumpReport:
    """Energy steps at neighbour swaps near one structure."""

    policy: str
    displacement: float
    """R.m.s. displacement per atom of each probe, Å (about one step of dynamics)."""
    swapped_edges: tuple[int, ...]
    """Edges that differ between the ends of each probe, all graphs together."""
    jumps_ev: tuple[float, ...]
    """Size of the first energy jump found along each probe, eV; 0 where no edge changed."""

    @property
    def largest_ev(self) -> float:
        """The largest jump of all probes, eV."""
        return max(self.jumps_ev, default=0.0)

    def __str__(self) -> str:
        if not any(self.swapped_edges):
            return (
                f"none was met within {self.displacement:g} Å of this structure, but neighbours may swap "
                "elsewhere"
            )
        return (
            f"moving the atoms by {self.displacement:g} Å (about one time step) swaps up to "
            f"{max(self.swapped_edges, default=0)} neighbours, and a single swap makes the energy jump by "
            "up to "
            f"{1000 * self.largest_ev:.2g} meV"
        )


def measured_jump(
    calculator: GraphCalculator, atoms: Atoms, *, displacement: float = 0.01, probes: int = 4
) -> JumpReport:
    """Measure energy jumps along `probes` random displacements of r.m.s. `displacement` Å; atoms are not
    changed."""
    probe = copy.copy(calculator)  # own cache: the caller's results stay
    random = np.random.default_rng(0)
    swapped, jumps = [], []
    for _ in range(probes):
        step = random.normal(size=(len(atoms), 3)) * displacement / np.sqrt(3.0)
        count, jump = _along(probe, atoms, step)
        swapped.append(count)
        jumps.append(jump)
    return JumpReport(calculator.info.policy.name, displacement, tuple(swapped), tuple(jumps))


def warn_of_jumps(report: JumpReport) -> None:
    """Tell the user, with the measured size, that dynamics and second derivatives are unreliable."""
    warnings.warn(
        JMPWarning(
            f"The graph policy 'official' has an energy with jumps: {report}. Forces do not account for "
            "jumps, so "
            "energy is not conserved in dynamics and phonons are unreliable. Models fine-tuned from this "
            "one are smooth "
            "(jmp-calc finetune); in Python, JMPCalculator(..., graph='smooth') is at once, with other "
            "forces (docs/smooth.md)."
        ),
        stacklevel=3,
    )


def _along(probe: GraphCalculator, atoms: Atoms, step: np.ndarray) -> tuple[int, float]:
    """Edges swapped along the whole step, and the energy jump (eV) at the first swap."""
    low, high = 0.0, 1.0
    start = _edges(probe, _moved(atoms, step, low))
    n_swapped = len(start ^ _edges(probe, _moved(atoms, step, high)))
    if n_swapped == 0:
        return 0, 0.0
    while high - low > BRACKET:
        middle = 0.5 * (low + high)
        if _edges(probe, _moved(atoms, step, middle)) == start:
            low = middle
        else:
            high = middle
    before, after = _moved(atoms, step, low), _moved(atoms, step, high)
    forces_before, energy_before = probe.get_forces(before), probe.get_potential_energy(before)
    forces_after, energy_after = probe.get_forces(after), probe.get_potential_energy(after)
    work = float(np.sum(0.5 * (forces_before + forces_after) * step)) * (high - low)
    return n_swapped, abs(energy_after - energy_before + work)


def _moved(atoms: Atoms, step: np.ndarray, fraction: float) -> Atoms:
    moved = atoms.copy()
    moved.set_constraint()
    moved.positions += fraction * step
    return moved


def _edges(probe: GraphCalculator, atoms: Atoms) -> frozenset[tuple[int, ...]]:
    """All edges of the selected graphs as (graph, source, target, image)."""
    graph = probe.build_graph(atoms)
    found: set[tuple[int, ...]] = set()
    for number, edges in enumerate((graph.main, graph.a2ee2a, graph.qint)):
        rows = np.column_stack([edges.source, edges.target, edges.shift])
        found.update((number, *row) for row in rows.tolist())
    return frozenset(found)
