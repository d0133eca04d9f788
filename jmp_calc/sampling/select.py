"""Active learning: of a pool of structures those that a model should be trained on next.

Each pick is the structure whose atoms tell most about those of the whole pool, given what is labelled and
picked already (``design.py``); without descriptors the most uncertain one.

Example: ``select(pool, calc=JMPCalculator("run/best.safetensors", uncertainty="last-layer"), n=50).frames``
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import a_calculator, plain, structure_list
from ..errors import BadInputError, UsageError
from ..io.progress import Progress
from ..io.structures import windows
from ..workflows.common import energy_std
from ..workflows.together import together
from .design import Basis, picks

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator


SAME = 1e-4
"""Distance of mean descriptors, in standard deviations of the pool's atoms, up to which structures are
copies."""


@dataclass(frozen=True, kw_only=True)
class SelectSettings:
    """The arguments of ``select``, explained there."""

    n: int = 50
    max_uncertainty_mev: float | None = None

    def __post_init__(self) -> None:
        plain(self)
        if self.n < 1:
            raise UsageError(f"The number n must be at least 1, got {self.n}.")
        limit = self.max_uncertainty_mev
        if limit is not None and not limit > 0:
            raise UsageError(f"max_uncertainty_mev must be positive, got {limit:g}.")


@dataclass(frozen=True, eq=False, repr=False)
class Selection:
    """What was picked of a pool of P structures."""

    picked: tuple[int, ...]
    """Numbers in the pool, counted from 0, in the order of picking."""
    frames: tuple[Atoms, ...]
    """Copies of them, with ``select_rank`` and ``select_std_mev`` (per atom) in their info."""
    std_mev: NDArray[np.float64]
    """(P,) standard deviation of the energy, meV per atom; NaN of those left out."""
    left: NDArray[np.float64]
    """(n,) share of the pool's variance, in a linear model on its descriptors, that is left after each pick;
    NaN without descriptors."""
    left_out: dict[int, str]
    """Number in the pool and reason of those that could not be picked."""

    def __repr__(self) -> str:
        return f"<Selection: {len(self.picked)} of {len(self.std_mev)}, {len(self.left_out)} left out>"

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml."""
        known = self.std_mev[np.isfinite(self.std_mev)]
        return {
            "n_pool": len(self.std_mev),
            "n_selected": len(self.picked),
            "n_left_out": len(self.left_out),
            "pool_std_mev_per_atom": _spread(known),
            "selected_std_mev_per_atom": _spread(self.std_mev[list(self.picked)]),
            **({"variance_left": round(float(self.left[-1]), 4)} if np.isfinite(self.left).all() else {}),
        }


def select(
    pool: Iterable[Atoms],
    *,
    calc: Calculator,
    n: int = SelectSettings.n,
    known: Iterable[Atoms] = (),
    max_uncertainty_mev: float | None = SelectSettings.max_uncertainty_mev,
    quiet: bool = True,
) -> Selection:
    """Pick structures that are worth labelling.

    Args:
        pool: structures, with labels or without; of copies the first is taken.
        calc: calculator with an uncertainty, such as JMPCalculator(..., uncertainty="last-layer"); one
            without descriptors picks by uncertainty alone.
        n: how many to pick. Default: 50.
        known: structures that are labelled already: what they tell need not be picked, and copies of them are
            left out. Default: ().
        max_uncertainty_mev: leave out structures with a larger standard deviation of the energy, meV/atom:
            the wrecks of a run that blew up. Default: None.
        quiet: no progress bar. Default: True.

    Returns:
        Selection. A structure that cannot be evaluated is left out with the reason.

    Raises:
        UsageError: a calculator without energy_std, or numbers that are none. BadInputError: no structure can
            be evaluated.
    """
    settings = SelectSettings(n=n, max_uncertainty_mev=max_uncertainty_mev)
    pool, known = structure_list(pool, "pool"), structure_list(known, "known")
    if "energy_std" not in getattr(a_calculator(calc), "implemented_properties", ()):
        raise UsageError(
            "The calculator gives no energy_std to select by.",
            hint="use JMPCalculator(..., uncertainty='last-layer') (--uncertainty last-layer or committee)",
        )
    with Progress("select", len(pool) + len(known), quiet=quiet) as progress:
        looked = _Looked.at(pool, calc, progress, None, uncertain=True)
        seen = _Looked.at(known, calc, progress, looked.basis, uncertain=False)
    left_out = dict(looked.left_out)
    for number in _copies(looked.features, seen.features).tolist():
        left_out.setdefault(number, "it is among those known")
    for number in np.flatnonzero(~np.isfinite(looked.std_mev)).tolist():
        left_out.setdefault(number, "its uncertainty is not finite")
    limit = settings.max_uncertainty_mev
    if limit is not None:
        for number in np.flatnonzero(looked.std_mev > limit).tolist():
            left_out[number] = f"uncertainty {looked.std_mev[number]:.0f} meV/atom, beyond the limit"
    free = np.array([i for i in range(len(pool)) if i not in left_out], dtype=np.int64)
    for number, first in _repeats(looked.features[free]).items():
        left_out[int(free[number])] = f"it is a copy of structure {free[first]}"
    candidates = np.array([i for i in free.tolist() if i not in left_out], dtype=np.int64)
    if not len(candidates):
        reason = next(iter(left_out.values()), "the pool is empty")
        raise BadInputError("No structure of the pool can be selected.", where=f"the first: {reason}")
    order, left = _picked(looked, seen, candidates, settings.n)
    return Selection(
        picked=tuple(order),
        frames=tuple(_frame(pool[i], rank, looked.std_mev[i]) for rank, i in enumerate(order)),
        std_mev=looked.std_mev,
        left=left,
        left_out=left_out,
    )


@dataclass(frozen=True, eq=False)
class _Looked:
    """What the calculator says of S structures."""

    std_mev: NDArray[np.float64]
    """(S,) meV per atom; NaN of those left out."""
    moments: NDArray[np.float64]
    """(S, d + 1, d + 1) of the descriptors of each structure (``Basis.moment``), NaN of those left out; d = 0
    without descriptors."""
    basis: Basis | None
    """Of the moments; None without descriptors."""
    left_out: dict[int, str]

    @property
    def features(self) -> NDArray[np.float64]:
        """(S, d) mean descriptors in the basis."""
        means: NDArray[np.float64] = self.moments[:, -1, :-1] / self.moments[:, -1:, -1]
        return means

    @classmethod
    def at(
        cls,
        structures: Sequence[Atoms],
        calc: Calculator,
        progress: Progress,
        basis: Basis | None,
        *,
        uncertain: bool,
    ) -> _Looked:
        """One window after the other; a window with a structure that fails is looked at one by one. Without a
        ``basis`` the first window with descriptors makes it."""
        values = partial(_values, calc=calc, uncertain=uncertain)
        stds, left_out = list[float](), dict[int, str]()
        moments = list[NDArray[np.float64] | None]()
        for window in windows(structures):
            found = list(together(window, values))
            sound = [one for one in found if not isinstance(one, Exception)]
            if basis is None and sound and sound[0][1].shape[1]:
                basis = Basis.of(np.concatenate([atoms for _, atoms in sound]))
            for one in found:
                if isinstance(one, Exception):
                    left_out[len(stds)] = getattr(one, "fact", None) or str(one)
                stds.append(np.nan if isinstance(one, Exception) else one[0])
                moments.append(None if basis is None or isinstance(one, Exception) else basis.moment(one[1]))
                progress.update()
        width = 1 if basis is None else basis.directions.shape[1] + 1
        nothing = np.full((width, width), np.nan)
        filled = [nothing if moment is None else moment for moment in moments]
        return cls(np.array(stds), np.array(filled).reshape(-1, width, width), basis, left_out)


def _values(
    window: Sequence[Atoms], calc: Calculator, *, uncertain: bool
) -> list[tuple[float, NDArray[np.floating]]]:
    """Of each structure its standard deviation in meV per atom, and the descriptors (N, D) of its atoms."""
    sizes = np.array([len(atoms) for atoms in window])
    std = np.zeros(len(window))
    if uncertain:
        batch = getattr(calc, "batch", None)
        if batch is None:
            std = np.array([_single_std(atoms, calc) for atoms in window])
        else:
            std = np.array([found["energy_std"] for found in batch(window, ("energy", "energy_std"))])
    describe = getattr(calc, "descriptors", None)
    if describe is None:
        features = [np.zeros((size, 0)) for size in sizes]
    else:
        described = describe(window)
        features = [described.of(number) for number in range(len(window))]
    return list(zip((1000 * std / sizes).tolist(), features, strict=True))


def _single_std(atoms: Atoms, calc: Calculator) -> float:
    copy = atoms.copy()
    copy.calc = calc
    return energy_std(copy) or 0.0


def _picked(
    looked: _Looked, seen: _Looked, candidates: NDArray[np.int64], n: int
) -> tuple[list[int], NDArray[np.float64]]:
    """Numbers of the picks in their order, and what is left after each."""
    if looked.basis is None:
        order = candidates[np.argsort(-looked.std_mev[candidates], kind="stable")][:n].tolist()
        return order, np.full(len(order), np.nan)
    known = seen.moments[np.isfinite(seen.moments).all(axis=(1, 2))]
    places, left = picks(looked.moments[candidates], known, n)
    return candidates[places].tolist(), left


def _copies(features: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.int64]:
    """Numbers of the rows (P, D) that are one of those known (K, D) but for rounding."""
    if not (features.shape[1] and len(known)):
        return np.zeros(0, dtype=np.int64)
    from scipy.spatial import cKDTree

    sound, rows = (np.isfinite(some).all(axis=1) for some in (known, features))
    if not (sound.any() and rows.any()):
        return np.zeros(0, dtype=np.int64)
    distance, _ = cKDTree(known[sound]).query(features[rows])
    return np.flatnonzero(rows)[distance <= SAME]


def _repeats(features: NDArray[np.float64]) -> dict[int, int]:
    """Rows (P, D) that are, but for rounding, an earlier one, and the number of the first of these."""
    from scipy.spatial import cKDTree

    rows = np.flatnonzero(np.isfinite(features).all(axis=1)) if features.shape[1] else np.zeros(0, dtype=int)
    found: dict[int, int] = {}
    if len(rows):
        pairs = cKDTree(features[rows]).query_pairs(SAME, output_type="ndarray")
        for first, second in sorted(rows[np.sort(pairs, axis=1)].tolist()):
            if first not in found:
                found.setdefault(second, first)
    return found


def _frame(atoms: Atoms, rank: int, std_mev: float) -> Atoms:
    """A copy with its labels, rank and uncertainty."""
    copy = atoms.copy()
    copy.calc = atoms.calc
    copy.info |= {"select_rank": rank, "select_std_mev": round(float(std_mev), 4)}
    return copy


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    """Median, nine tenths and largest of values."""
    if not len(values):
        return {}
    marks = np.percentile(values, (50, 90, 100))
    return dict(zip(("median", "ninth_decile", "largest"), (round(float(x), 4) for x in marks), strict=True))
