"""Reference energies per element: isolated atoms of the file, the user's own, or a least-squares fit.

The fit solves E = sum of e(Z) for the compositions present, in float64, with the solution of least norm where
the compositions are collinear; such a fit is reported as not of full rank, because only its sums mean
anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.io.plain_yaml import read_yaml

from .frame import Frame
from .keys import LabelKeys
from .label_units import LabelUnits
from .labels import read_labelled

Kind = Literal["isolated_atoms", "least_squares"]
MODES = ("auto", "isolated", "lstsq")
"""Where the references come from, unless the user gives them."""
_IMPLAUSIBLE_BINDING = 30.0
"""eV/atom: no structure is bound or compressed that strongly, so such atoms belong to other energies."""


@dataclass(frozen=True)
class References:
    """Energies in eV by atomic number, and how far they can be trusted."""

    values: dict[int, float]
    kind: Kind
    """``isolated_atoms`` also for values that the user gave."""
    rank: int
    """Rank of the compositions in the training frames."""
    full_rank: bool
    """False: compositions are collinear, only sums over compositions that were fitted are meaningful."""
    residual_ev_per_atom: float
    """Root mean square of (energy - references) / atoms, eV."""
    messages: tuple[str, ...] = ()
    unused: str | None = None
    """Why isolated atoms that there are were not used."""

    @property
    def lone_atoms(self) -> dict[int, float] | None:
        """Energies of lone atoms by atomic number, eV; None where they are not known."""
        return self.values if self.kind == "isolated_atoms" else None

    def energy(self, numbers: np.ndarray) -> float:
        """Sum of the references of atomic numbers (N,) in eV; BadInputError for an element without one."""
        elements, counts = np.unique(numbers, return_counts=True)
        missing = [int(z) for z in elements if int(z) not in self.values]
        if missing:
            raise BadInputError(
                f"No reference energy for {_names(missing)}.",
                hint="add training frames with it, or give its energy",
            )
        return float(sum(self.values[int(z)] * int(n) for z, n in zip(elements, counts, strict=True)))


def fit_references(
    frames: Sequence[Frame],
    isolated: Mapping[int, float] | None = None,
    mode: str | Mapping[Any, float] = "auto",
) -> References:
    """Reference energies for the elements of ``frames`` (those without an energy are ignored).

    ``auto``: isolated atoms when they cover every element and belong to the same energies, else least
        squares; ``isolated``: those or an error; ``lstsq``: always the fit; or a mapping ``{"C": -1029.5}``.
        Raises BadInputError if no frame has an energy or isolated atoms are unusable, UsageError for a
        mapping that is.
    """
    labelled = [frame for frame in frames if frame.energy is not None]
    if not labelled:
        raise BadInputError("No frame has an energy, so no reference energies can be fitted.")
    elements = sorted({int(z) for frame in frames for z in np.unique(frame.numbers)})
    counts, energies, weights = _compositions(labelled, elements)
    rank = int(np.linalg.matrix_rank(counts / counts.sum(1, keepdims=True), tol=1e-8))

    def finish(
        values: dict[int, float], kind: Kind, notes: list[str], unused: str | None = None
    ) -> References:
        residual = _residuals(labelled, values)
        if kind == "least_squares" and rank < len(elements):
            notes = notes + [_rank_message(rank, elements)]
        return References(
            values,
            kind,
            rank,
            kind == "isolated_atoms" or rank == len(elements),
            float(np.sqrt(np.mean(residual**2))),
            tuple(notes),
            unused,
        )

    if isinstance(mode, Mapping):
        given = _given(mode, elements)
        problem = _isolated_problem(labelled, given, elements)
        if problem is not None:
            raise UsageError(
                f"The given references cannot be right: {problem}.",
                hint="are they in eV (--energy-unit is that of a file of structures)? --E0s lstsq fits them",
            )
        return finish(given, "isolated_atoms", ["Reference energies as given by the user."])
    notes: list[str] = []
    unused: str | None = None
    if mode in ("auto", "isolated"):
        problem = _isolated_problem(labelled, isolated or {}, elements)
        if problem is None and isolated:
            return finish(
                {z: float(isolated[z]) for z in elements}, "isolated_atoms", ["References: isolated atoms."]
            )
        if mode == "isolated":
            raise BadInputError(
                problem or "There are no isolated atoms.", hint="add config_type=IsolatedAtom frames"
            )
        if isolated and problem:
            unused = problem
            notes.append(f"Isolated atoms not used: {problem}")
    values = least_squares(counts, energies, weights)
    notes.append("References: least squares over the training energies.")
    return finish(dict(zip(elements, values.tolist(), strict=True)), "least_squares", notes, unused)


def load_references(
    path: str | Path,
    *,
    keys: LabelKeys = LabelKeys(),
    units: LabelUnits = LabelUnits(),
) -> dict[int, float]:
    """References in eV from YAML (``symbol or number: energy in eV``) or from the isolated atoms of a
    structure file.

    Keys and units are those of the structure file, as in ``read_labelled``.

    Raises:
        UsageError: a file that cannot be read or is no such table.
    """
    if ".xyz" in Path(path).name or Path(path).suffix.lower() in (".extxyz", ".traj", ".db"):
        return read_labelled(path, keys=keys, require=(), units=units).isolated

    content = read_yaml(Path(path), "references file")
    if not isinstance(content, dict):
        raise UsageError(f"References file {path} is not a table of element: energy.", where=str(path))
    return _parse_mapping(content)


def _parse_mapping(mapping: Mapping[Any, Any]) -> dict[int, float]:
    from ase.data import atomic_numbers

    values = {}
    for key, energy in mapping.items():
        number = int(key) if isinstance(key, int) or str(key).isdecimal() else atomic_numbers.get(key)
        try:
            value = float(energy)
        except (TypeError, ValueError):
            value = float("nan")
        if number is None or not np.isfinite(value):
            raise UsageError(f"Reference {key!r}: {energy!r} is not an element and an energy in eV.")
        values[number] = value
    return values


def _given(mapping: Mapping[Any, float], elements: Sequence[int]) -> dict[int, float]:
    values = _parse_mapping(mapping)
    missing = [z for z in elements if z not in values]
    if missing:
        raise UsageError(f"The given references have no energy for {_names(missing)}.", hint="add them")
    return values


def _compositions(frames: Sequence[Frame], elements: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct compositions (C, K), their mean energies (C,) in eV and numbers of frames (C,)."""
    column = {z: i for i, z in enumerate(elements)}
    totals: dict[bytes, list[float]] = {}
    for frame in frames:
        row = np.zeros(len(elements))
        for z, n in zip(*np.unique(frame.numbers, return_counts=True), strict=True):
            row[column[int(z)]] = n
        entry = totals.setdefault(row.tobytes(), [0.0, 0.0])
        entry[0] += frame.energy or 0.0
        entry[1] += 1.0
    counts = np.array([np.frombuffer(key) for key in totals])
    sums = np.array(list(totals.values()))
    return counts, sums[:, 0] / sums[:, 1], sums[:, 1]


def least_squares(counts: np.ndarray, energies: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Energies (K,) in eV of least norm about the mean, from compositions (C, K), their mean energies (C,) in
    eV and numbers of frames (C,)."""
    # Per atom, so that large cells do not outweigh small ones; the offset keeps the deviations well
    # conditioned.
    atoms = counts.sum(1)
    scale = np.sqrt(weights) / atoms
    per_atom = float(np.average(energies / atoms, weights=weights))
    deviation, *_ = np.linalg.lstsq(
        counts * scale[:, None], (energies - per_atom * atoms) * scale, rcond=1e-8
    )
    return deviation + per_atom


def _residuals(frames: Sequence[Frame], values: Mapping[int, float]) -> np.ndarray:
    return np.array(
        [
            ((frame.energy or 0.0) - sum(values[int(z)] for z in frame.numbers)) / frame.n_atoms
            for frame in frames
        ]
    )


def implausible(binding: np.ndarray) -> bool:
    """Whether binding energies (n,) in eV/atom are those of no structure: atoms of another zero of
    energy."""
    return bool(abs(np.median(binding)) > _IMPLAUSIBLE_BINDING)


def _isolated_problem(
    frames: Sequence[Frame], isolated: Mapping[int, float], elements: Sequence[int]
) -> str | None:
    missing = [z for z in elements if z not in isolated]
    if missing:
        return f"there is none for {_names(missing)}."
    binding = float(np.median(_residuals(frames, isolated)))
    if implausible(np.array([binding])):
        return (
            f"they would mean a binding energy of {binding:.1f} eV/atom, so the frames have another "
            "energy zero."
        )
    return None


def _rank_message(rank: int, elements: Sequence[int]) -> str:
    return (
        f"The compositions determine {rank} of {len(elements)} reference energies ({_names(elements)}); "
        "energies "
        "between other compositions (reactions, formation, isolated atoms) are not meaningful. "
        "Add isolated atoms to determine them."
    )


def _names(numbers: Sequence[int]) -> str:
    from jmp_calc.model.elements import symbol

    return ", ".join(symbol(z) for z in numbers)
