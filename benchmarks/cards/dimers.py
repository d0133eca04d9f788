"""Dimers of every pair of elements that a head has seen: no attraction nearer than it was trained, and no minima
that the teacher has not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from ase import Atoms

from jmp_calc import JMPCalculator
from jmp_calc.model.config import HeadConfig
from jmp_calc.model.elements import COVALENT_RADII, pair_name, pair_numbers

from .model import CardModel
from .scans import Floats, minima
from .teacher_values import of_head

NEAREST, NEAR, STEP = 0.5, 1.5, 0.05
"""Sums of covalent radii, where points are dense."""
LONGEST, LONG_STEP = 6.0, 0.25
"""Å"""
ATTRACTION = -0.1
"""eV/Å along the bond, positive: repulsion."""
DEPTH_EV = 0.02
"""Of a minimum."""
UNKNOWN_SHARE = 0.75
"""Of the sum of covalent radii, where a head does not know its shortest distances: no bond is shorter (N2 has 0.77)."""
PAIRS_TOGETHER = 60
SHOWN = 12


def scan(pair: str) -> tuple[Floats, list[Atoms]]:
    """Distances (N,) in Å and the dimers."""
    numbers = pair_numbers(pair)
    radii = sum(COVALENT_RADII[number] for number in numbers)
    near = radii * np.arange(NEAREST, NEAR + 1e-9, STEP)
    distances = np.concatenate([near, np.arange(near[-1] + LONG_STEP, LONGEST + 1e-9, LONG_STEP)])
    return distances, [Atoms(numbers, [[0.0, 0.0, 0.0], [x, 0.0, 0.0]]) for x in distances]


def pairs_of(head: HeadConfig) -> dict[str, float]:
    """Shortest trained distance in Å of every covered pair; of heads that do not know them 0.75 of the sum
    of covalent radii of every pair of their elements."""
    if head.pairs is not None:
        return dict(head.pairs)
    return {
        pair_name(one, other): UNKNOWN_SHARE * (COVALENT_RADII[one] + COVALENT_RADII[other])
        for one, other in combinations_with_replacement(head.elements or (), 2)
    }


def names(model: CardModel) -> list[str]:
    """The heads."""
    return [head.name for head in model.heads]


def measured(name: str, model: CardModel) -> dict[str, Any]:
    """All pairs of one head."""
    head = model.config(name)
    pairs = pairs_of(head)
    teacher = of_head(name, "dimers")
    attracted: list[tuple[float, str]] = []
    many: list[tuple[int, str]] = []
    for pair, distances, energies, forces in _curves(model.calculator(name), list(pairs)):
        worst = worst_attraction(distances, forces, pairs[pair])
        if worst is not None:
            attracted.append((worst[1], f"{pair} {worst[0]:.2f} Å {worst[1]:.2f} eV/Å"))
        found = len(minima(energies, DEPTH_EV))
        if found > max(1, teacher.get(pair, 1)):
            many.append((-found, f"{pair} {found}"))
    return {
        "pairs": len(pairs),
        "shortest_distances": "trained" if head.pairs is not None else "0.75 of the sums of covalent radii",
        "with_teacher": sum(pair in teacher for pair in pairs),
        "attracted": len(attracted),
        "worst_attracted": [text for _, text in sorted(attracted)[:SHOWN]],
        "too_many_minima": len(many),
        "most_minima": [text for _, text in sorted(many)[:SHOWN]],
        "passed": bool(pairs) and not attracted and not many,
    }


def worst_attraction(distances: Floats, forces: Floats, shortest: float) -> tuple[float, float] | None:
    """Distance and force of the strongest attraction beyond the limit at distances (N,) that are shorter than
    trained; None: there is none."""
    inside = distances < shortest
    if not inside.any() or forces[inside].min() >= ATTRACTION:
        return None
    place = int(forces[inside].argmin())
    return float(distances[inside][place]), float(forces[inside][place])


def count(energies: Sequence[float | None]) -> int:
    """Minima of the curve of a teacher (N values, None where it does not know the energy)."""
    return len(minima(np.array([energy for energy in energies if energy is not None]), DEPTH_EV))


def _curves(calculator: JMPCalculator, pairs: list[str]) -> Iterator[tuple[str, Floats, Floats, Floats]]:
    """Pair, distances, energies and forces along the bond (each (N,)) of every pair."""
    for start in range(0, len(pairs), PAIRS_TOGETHER):
        scans = {pair: scan(pair) for pair in pairs[start : start + PAIRS_TOGETHER]}
        found = iter(calculator.batch([atoms for _, frames in scans.values() for atoms in frames]))
        for pair, (distances, frames) in scans.items():
            results = [next(found) for _ in frames]
            energies = np.array([one["energy"] for one in results])
            yield pair, distances, energies, np.array([one["forces"][1, 0] for one in results])
