"""Tests of energies alone: not constant, totals and not per atom, their unit, one energy zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jmp_calc.model.elements import by_number
from jmp_calc.units import HARTREE, KCAL_MOL, KJ_MOL, RYDBERG

from ..data.cohesive import LEAST_ATOMISATION, hardly_bound
from ..data.frame import Frame
from .findings import Finding

_ATOM_HARTREE = (
    0.5, 2.862, 7.433, 14.573, 24.529, 37.689, 54.401, 74.809, 99.409, 128.547, 161.859, 199.615, 241.877,
    288.854,
    340.719, 397.505, 459.482, 526.817, 599.165, 676.758, 759.736, 848.406, 942.884, 1043.36, 1149.87,
    1262.44,
    1381.41, 1506.87, 1638.96, 1777.85, 1923.26, 2075.36, 2234.24, 2399.87, 2572.44, 2752.05,
)  # fmt: skip
"""Hartree-Fock energies of the atoms H to Kr, -E in hartree: an all-electron total energy is within 1.5 % of
them."""
_ENERGY_UNITS = {
    "hartree": 1 / HARTREE,
    "rydberg": 1 / RYDBERG,
    "kcal/mol": 1 / KCAL_MOL,
    "kJ/mol": 1 / KJ_MOL,
    "meV": 1000.0,
}
_ZERO_GAP_ERROR = 5.0
_ZERO_GAP_WARNING = 1.5


def check_energies(train: Sequence[Frame], valid: Sequence[Frame], test: Sequence[Frame]) -> list[Finding]:
    """Constant energies, energies per atom, other units, and several energy zeros."""
    labelled = [frame for frame in train if frame.energy is not None]
    if not labelled:
        return []
    energies = np.array([frame.energy for frame in labelled], dtype=float)
    if len(labelled) > 2 and np.ptp(energies) < 1e-7:
        return [
            Finding(
                "error",
                "constant_energies",
                f"All {len(labelled)} energies are {energies[0]:.6f} eV.",
                labelled[0].where,
                "The energy key holds something else, or the frames are one calculation.",
            )
        ]
    found = _units_by_size(labelled, energies)
    per_atom = _per_atom(labelled, energies)
    if per_atom:
        return found + [per_atom]
    return found + _zeros(labelled, energies, valid, test)


def check_binding(train: Sequence[Frame], atoms: Mapping[int, float]) -> list[Finding]:
    """Structures that are hardly bound against lone atoms, eV by atomic number: these, or the energies, are
    of another zero. Frames of lone atoms do not count, nor do elements that nothing binds, as noble gases."""
    frames = [
        frame
        for frame in train
        if frame.energy is not None and (frame.n_atoms > 1 or frame.pbc.any()) and np.isfinite(frame.energy)
    ]
    if not frames or hardly_bound(np.concatenate([frame.numbers for frame in frames])):
        return []
    table = np.array(by_number(dict(atoms)))
    bound = np.array([table[frame.numbers].sum() - (frame.energy or 0.0) for frame in frames])
    per_atom = bound / [frame.n_atoms for frame in frames]
    mean, least = float(per_atom.mean()), int(per_atom.argmin())
    if mean >= LEAST_ATOMISATION:
        return []
    return [
        Finding(
            "error",
            "unbound",
            f"Against the isolated atoms the structures are bound by {mean:.2f} eV/atom, less than "
            f"{LEAST_ATOMISATION}: a model of them would hold nothing together.",
            frames[least].where,
            "Give energies of isolated atoms by the same method (--E0s), or let lone atoms be estimated with "
            "--E0s lstsq.",
        )
    ]


def _units_by_size(frames: Sequence[Frame], energies: np.ndarray) -> list[Finding]:
    """All-electron total energies are known to 1.5 %: a ratio of another unit gives itself away."""
    if any(frame.numbers.max() > len(_ATOM_HARTREE) or frame.numbers.min() < 1 for frame in frames):
        return []
    table = -HARTREE * np.array(_ATOM_HARTREE)
    expected = np.array([table[frame.numbers - 1].sum() for frame in frames])
    if np.median(np.abs(expected) / [frame.n_atoms for frame in frames]) < 100.0:
        return []
    ratio = energies / expected
    for unit, factor in _ENERGY_UNITS.items():
        if abs(np.median(ratio) / factor - 1) < 0.015 and np.std(ratio) < 0.02 * factor:
            return [
                Finding(
                    "error",
                    "energy_unit",
                    f"The energies look like {unit}: {energies[0]:.4f} for "
                    f"{expected[0]:.0f} eV expected of an all-electron total energy.",
                    frames[0].where,
                    f"Convert with --energy-unit {unit}.",
                )
            ]
    return []


def _composition_matrix(frames: Sequence[Frame], elements: Sequence[int]) -> np.ndarray:
    return np.array(
        [[np.count_nonzero(frame.numbers == z) for z in elements] for frame in frames], dtype=float
    )


def _per_atom(frames: Sequence[Frame], energies: np.ndarray) -> Finding | None:
    """Energies per atom given as totals: they follow the composition's shares and not its counts."""
    elements = sorted({int(z) for frame in frames for z in np.unique(frame.numbers)})
    counts = _composition_matrix(frames, elements)
    atoms = counts.sum(axis=1)
    if len(np.unique(atoms)) < 3 or atoms.max() < 2 * atoms.min() or len(frames) <= 2 * len(elements):
        return None

    def misfit(matrix: np.ndarray) -> float:
        fit, *_ = np.linalg.lstsq(matrix, energies, rcond=1e-8)
        return float(np.sqrt(np.mean((energies - matrix @ fit) ** 2)))

    as_total, as_share = misfit(counts), misfit(counts / atoms[:, None])
    if as_share > 0.1 * as_total or np.abs(np.median(energies)) < 5 * as_share:
        return None
    return Finding(
        "error",
        "energy_per_atom",
        f"The energies do not grow with the number of atoms ({atoms.min():.0f} to {atoms.max():.0f}, "
        "energies "
        f"{energies.min():.3f} to {energies.max():.3f} eV): they look like energies per atom.",
        frames[0].where,
        "Give total energies (multiply by the number of atoms).",
    )


def _zeros(
    frames: Sequence[Frame], energies: np.ndarray, valid: Sequence[Frame], test: Sequence[Frame]
) -> list[Finding]:
    """Energies of several zeros: after the best linear references a gap remains, or the parts differ."""
    elements = sorted({int(z) for frame in frames for z in np.unique(frame.numbers)})
    counts = _composition_matrix(frames, elements)
    atoms = counts.sum(axis=1)
    fit, _, rank, _ = np.linalg.lstsq(counts / atoms[:, None], energies / atoms, rcond=1e-8)
    residual = energies / atoms - counts / atoms[:, None] @ fit
    found = []
    gap, below, above = _largest_gap(residual)
    if gap > _ZERO_GAP_WARNING:
        order = np.argsort(residual)
        i, j = int(order[below - 1]), int(order[below])
        # Continuous distributions have gaps in their tails; a second zero has many frames on both sides.
        many = min(below, above) >= max(2, 0.02 * len(frames))
        if many:
            found.append(
                Finding(
                    "error" if gap > _ZERO_GAP_ERROR else "warning",
                    "energy_zeros",
                    f"The energies fall into two sets {gap:.1f} eV/atom apart ({below} and {above} frames).",
                    f"{frames[i].where} ({frames[i].group}) and {frames[j].where} ({frames[j].group})",
                    "Do not mix methods or energy zeros (total, relative, cohesive) in one file.",
                )
            )
        else:
            found.append(
                Finding(
                    "warning",
                    "energy_outliers",
                    f"{min(below, above)} frames are {gap:.1f} eV/atom from all others.",
                    frames[i if below < above else j].where,
                    "Look at them: failed calculations?",
                )
            )
    del rank
    return (
        found
        + _other_zero(elements, fit, counts, residual, valid, "validation")
        + _other_zero(elements, fit, counts, residual, test, "test")
    )


def _largest_gap(residual: np.ndarray) -> tuple[float, int, int]:
    """Largest gap of sorted values, and how many values lie below and above it."""
    if len(residual) < 2:
        return 0.0, len(residual), 0
    steps = np.diff(np.sort(residual))
    place = int(np.argmax(steps))
    return float(steps[place]), place + 1, len(residual) - place - 1


def _other_zero(
    elements: Sequence[int],
    fit: np.ndarray,
    counts: np.ndarray,
    residual: np.ndarray,
    frames: Sequence[Frame],
    name: str,
) -> list[Finding]:
    """Validation or test energies that the references of the training frames do not describe."""
    known = {int(z) for z in elements}
    usable = [f for f in frames if f.energy is not None and known.issuperset(np.unique(f.numbers).tolist())]
    if not usable:
        return []
    matrix = _composition_matrix(usable, elements)
    # Only compositions within the span of the training frames can be judged.
    basis = np.linalg.pinv(counts, rcond=1e-8) @ counts
    inside = np.linalg.norm(matrix - matrix @ basis, axis=1) < 1e-6 * np.linalg.norm(matrix, axis=1)
    energies = np.array([frame.energy for frame in usable], dtype=float)
    shift = ((energies - matrix @ fit) / matrix.sum(axis=1))[inside]
    if not len(shift):
        return []
    difference = float(np.median(shift) - np.median(residual))
    spread = float(np.ptp(residual))
    if abs(difference) < _ZERO_GAP_WARNING + spread:
        return []
    return [
        Finding(
            "error" if abs(difference) > _ZERO_GAP_ERROR + spread else "warning",
            "energy_zeros",
            f"The {name} energies lie {difference:.1f} eV/atom from the training energies.",
            usable[0].where,
            "Both files need the same method and the same energy zero.",
        )
    ]
