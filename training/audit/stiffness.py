"""How large forces are for the stretch of bonds: a scale that the labels of a file do not set themselves.

Energies and forces that are both in hartree fit each other. Bonds give them away: a bond of length r has a
force constant of about 28 eV/Å^2 (1.52 Å / r)^4.5, with hydrogen 35 eV/Å^2 (1 Å / r)^3, in molecules, metals
and salts alike. Over 50 public data sets the forces were 0.4 to 2.5 times what these constants say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import covalent_radii

from jmp_calc.graph.neighbours import neighbour_edges

from .pairs import Pair

_BONDED = 1.3
"""Bonds are shorter than this many sums of covalent radii."""
_SHORTEST = 0.7
"""Constants of still shorter bonds are those at this many sums of radii."""
_STRETCHING = 1e-4
"""Share of a displacement that must stretch bonds: molecules that only move apart say nothing."""
_SAMPLE = 60


@dataclass(frozen=True)
class BondResponse:
    """How forces answer when bonds are stretched."""

    pairs: int
    scale: float
    """Size of the forces over the size that bonds of such lengths would have (median)."""
    opposing: float
    """Share of pairs in which the change of the forces opposes the displacement, as near any minimum."""


def bond_response(pairs: Sequence[Pair]) -> BondResponse | None:
    """The answer over a sample of the pairs; None if fewer than 8 tell."""
    chosen = pairs[:: max(1, len(pairs) // _SAMPLE)]
    told = [(scale, pair) for pair in chosen if (scale := _scale(pair)) is not None]
    if len(told) < 8:
        return None
    against = [float(np.vdot(pair.force_change, pair.step)) < 0.0 for _, pair in told]
    return BondResponse(len(told), float(np.median([scale for scale, _ in told])), float(np.mean(against)))


def _scale(pair: Pair) -> float | None:
    """Square root of |change of forces|^2 over (stretch energy times stiff-weighted constant of an atom)."""
    frame = pair.one
    radii = covalent_radii[frame.numbers]
    edges, length = neighbour_edges(frame.positions, frame.cell, frame.pbc, _BONDED * 2 * float(radii.max()))
    bonded = length < _BONDED * (radii[edges.source] + radii[edges.target])
    edges, length = edges.take(bonded), length[bonded]
    if not len(edges):
        return None
    constant = _force_constants(frame.numbers[edges.source], frame.numbers[edges.target], length)
    direction = frame.positions[edges.source] + edges.shift @ frame.cell - frame.positions[edges.target]
    stretch = np.sum((pair.step[edges.source] - pair.step[edges.target]) * direction, axis=1) / length
    energy = 0.5 * float(constant @ stretch**2)
    # Mean over directions of the constants of all bonds of an atom, with two bonds' ends for each of them.
    of_atom = np.bincount(edges.target, 2.0 / 3.0 * constant, frame.n_atoms)
    stiff = float(of_atom @ of_atom / of_atom.sum())
    if energy < _STRETCHING * stiff * float(np.vdot(pair.step, pair.step)):
        return None
    change = pair.force_change
    return float(np.sqrt(np.vdot(change, change) / (stiff * energy)))


def _force_constants(first: np.ndarray, second: np.ndarray, length: np.ndarray) -> np.ndarray:
    """(E,) eV/Å^2 of bonds between atomic numbers (E,) of lengths (E,) Å."""
    length = np.maximum(length, _SHORTEST * (covalent_radii[first] + covalent_radii[second]))
    hydrogen = (first == 1) | (second == 1)
    return np.where(hydrogen, 35.0 * length**-3.0, 28.0 * (1.52 / length) ** 4.5)
