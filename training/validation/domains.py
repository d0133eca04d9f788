"""Errors of a head by what the structures are: with force errors beside the size of the forces, and their
correlation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, get_args

import numpy as np

from jmp_calc.lattice import VACUUM, gaps
from jmp_calc.model.config import Domain, DomainErrors

from ..data.frame import Frame, spread
from .metrics import Predictions

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential

SAMPLE = 500
"""Frames that are looked at to find out what they are."""


def domain_of(frame: Frame) -> Domain:
    """Molecules without periodicity or with vacuum along every periodic direction; surfaces with vacuum along
    some, or open along one; crystals else: a liquid cannot be told from them."""
    if not frame.pbc.any():
        return "molecules"
    open_ones = gaps(frame.positions, frame.cell, frame.pbc) >= VACUUM
    if open_ones.all():
        return "molecules"
    return "surfaces" if open_ones.any() or not frame.pbc.all() else "crystals"


def in_order(domains: Iterable[Domain]) -> tuple[Domain, ...]:
    """Each domain once, in the order in which they are named."""
    found = set(domains)
    return tuple(domain for domain in get_args(Domain) if domain in found)


def domains_of(frames: Sequence[Frame]) -> tuple[Domain, ...]:
    """What the frames are, from a sample of them spread evenly."""
    return in_order(domain_of(frame) for frame in spread(frames, SAMPLE))


def domain_errors(
    predictions: Predictions, domains: Sequence[Domain], chosen: np.ndarray | None = None
) -> tuple[DomainErrors, ...]:
    """Errors of the structures of each domain; ``domains`` is that of every structure (S,).

    Without forces, or with predictions that are not finite, a domain has no entry. ``chosen``: a mask (S,) of
    the structures that count; None: all.
    """
    names = np.asarray(domains)
    counted = np.ones(len(names), dtype=bool) if chosen is None else chosen
    found = (_errors(predictions, counted & (names == domain), domain) for domain in in_order(domains))
    return tuple(errors for errors in found if errors is not None)


def _errors(predictions: Predictions, chosen: np.ndarray, domain: Domain) -> DomainErrors | None:
    """The structures of a mask (S,)."""
    atoms = chosen[predictions.structure] & ~np.isnan(predictions.forces_true).any(axis=1)
    forces, true = predictions.forces[atoms].ravel(), predictions.forces_true[atoms].ravel()
    if not true.size or not np.isfinite(forces).all():
        return None
    energies = chosen & ~np.isnan(predictions.energy_true)
    difference = predictions.energy[energies] - predictions.energy_true[energies]
    per_atom = np.abs(difference / predictions.n_atoms[energies])
    known = per_atom.size > 0 and bool(np.isfinite(per_atom).all())
    return DomainErrors(
        domain,
        len(np.unique(predictions.structure[atoms])),
        _rounded(1e3 * np.abs(forces - true).mean()),
        _rounded(1e3 * np.abs(true).mean()),
        correlation(forces, true),
        _rounded(1e3 * per_atom.mean()) if known else None,
    )


def with_errors(
    potential: Potential, name: str, frames: Sequence[Frame], predictions: Predictions
) -> Potential:
    """The network with the errors of one of its heads on held-out frames; unchanged for a head without
    forces."""
    errors = domain_errors(predictions, [domain_of(frame) for frame in frames])
    heads = tuple(
        dataclasses.replace(head, errors=errors) if head.name == name else head
        for head in potential.config.heads
    )
    return potential.with_config(dataclasses.replace(potential.config, heads=heads))


def correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Pearson's, of two arrays (n,); None where one of them does not vary."""
    if one.size < 2 or not (np.ptp(one) > 0 and np.ptp(other) > 0):
        return None
    return _rounded(np.clip(np.corrcoef(one, other)[0, 1], -1.0, 1.0))


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
