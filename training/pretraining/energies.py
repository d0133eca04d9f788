"""One zero of energy per head: the same references for all of its sets.

Two sets that share a head and give the same crystal different energies are a contradiction that no network
can learn, so sets are never aligned one by one. The references of a head are the energies of isolated atoms
of its method where its sets have them for every element. Else one least squares over the training frames of
all its sets gives mean energies of bound atoms, and lone atoms stand above them by the cohesive energies of
the elements, an estimate. In both cases the head gets the difference between the two as its binding energies,
so that training begins at the right means and ends in lone atoms.

A set that was calculated with another zero (``constant`` in the recipe: other pseudopotentials, another code)
gets one constant per element, fitted once to the differences between the lowest energies of the compositions
that it shares with the other sets of its head. Means would not do, for they depend on how hot or strained the
frames are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jmp_calc.errors import UsageError
from jmp_calc.io.progress import Say
from jmp_calc.model.elements import symbol, symbols

from ..data.cohesive import cohesive_energies
from ..data.frame import Frame, each_of
from ..data.references import implausible, least_squares
from .mixture import Mixture, MixtureSet
from .pack import PackedSet

MOST_FRAMES = 50_000
"""Of a set whose energies are looked at, spread evenly."""
SAME_ATOM = 0.02
"""eV: isolated atoms of two sets of a head that differ more belong to two methods."""
DISAGREEMENT = 0.15
"""eV/atom between the lowest energies of the same compositions in two sets: told, for frames of one method
can be that much hotter than those of another set."""
_COLUMNS = 128

Composition = tuple[tuple[int, int], ...]
"""In lowest terms: (atomic number, count) pairs."""
Lowest = Mapping[Composition, float]
"""eV/atom of the lowest frame of every composition."""


@dataclass(frozen=True, eq=False)
class Compositions:
    """The energies of one set, by composition."""

    counts: NDArray[np.float64]
    """(C, 128) atoms of every element."""
    mean: NDArray[np.float64]
    """(C,) eV"""
    frames: NDArray[np.float64]
    """(C,) numbers of frames."""
    lowest: Lowest

    @classmethod
    def of(cls, frames: Iterable[Frame]) -> Compositions:
        """Of all frames with an energy (a finite one: others stop the training with their name)."""
        sums: dict[bytes, list[float]] = {}
        lowest: dict[Composition, float] = {}
        for frame in frames:
            if frame.energy is None or not math.isfinite(frame.energy):
                continue
            present = np.bincount(frame.numbers, minlength=_COLUMNS)
            entry = sums.setdefault(present.tobytes(), [0.0, 0.0])
            entry[0] += frame.energy
            entry[1] += 1.0
            name, per_atom = reduced(present), frame.energy / frame.n_atoms
            lowest[name] = min(per_atom, lowest.get(name, math.inf))
        counts: NDArray[np.float64] = np.array([np.frombuffer(key, dtype=np.int64) for key in sums]).astype(
            float
        )
        totals = np.array(list(sums.values())).reshape(-1, 2)
        return cls(counts.reshape(-1, _COLUMNS), totals[:, 0] / totals[:, 1], totals[:, 1], lowest)


@dataclass(frozen=True)
class HeadEnergies:
    """The zero of energy of one head."""

    atoms: dict[int, float]
    """eV of a lone atom by atomic number: the references of the head."""
    isolated: bool
    """Whether these are calculated atoms; else they are estimates."""
    binding: dict[int, float]
    """eV by atomic number that a bound atom has beside them."""
    constants: dict[str, dict[int, float]]
    """eV per atom of each element that the energies of a set have beside the head's, by name of the set."""
    messages: tuple[str, ...]


def reduced(counts: NDArray[np.int64]) -> Composition:
    """A composition in lowest terms, from numbers of atoms (128,)."""
    present = np.flatnonzero(counts)
    divisor = int(np.gcd.reduce(counts[present]))
    return tuple((int(z), int(counts[z]) // divisor) for z in present)


class Source(Protocol):
    """What is asked of a data set: what it is, and its training frames."""

    @property
    def name(self) -> str:
        """Name in the recipe."""
        ...

    @property
    def described(self) -> PackedSet:
        """Head, references, isolated atoms."""
        ...

    @property
    def train(self) -> Sequence[Frame]:
        """Training frames."""
        ...


def with_one_zero(
    sources: Sequence[Source], mixture: Mixture, *, lone_atoms: bool, say: Say
) -> dict[str, PackedSet]:
    """The descriptions of the sets, by name, with the references of their heads, each plus its own constant.

    ``lone_atoms``: whether the network gives a lone atom the energy of its reference; one that does not has
    means of bound atoms as references, and a set alone under its head keeps those it has.

    Raises:
        UsageError: sets of one head whose isolated atoms differ, or a constant that nothing determines.
    """
    described = {source.name: source.described for source in sources}
    by_name = {source.name: source for source in sources}
    for head in mixture.heads:
        items = [item for item in mixture.sets_of(head.name) if item.name in by_name and item.energy]
        if not items or (len(items) == 1 and not lone_atoms):
            continue
        compositions = {
            item.name: Compositions.of(each_of(by_name[item.name].train, MOST_FRAMES)) for item in items
        }
        if not any(len(found.frames) for found in compositions.values()):
            continue
        isolated = {item.name: by_name[item.name].described.isolated for item in items}
        found = head_energies(head.name, items, compositions, isolated, lone_atoms=lone_atoms)
        for message in found.messages:
            say(message)
        for item in items:
            constants = found.constants.get(item.name, {})
            described[item.name] = replace(
                described[item.name],
                references={z: energy + constants.get(z, 0.0) for z, energy in found.atoms.items()},
                constants=constants,
                isolated_references=found.isolated,
                binding=found.binding,
            )
    return described


def head_energies(
    head: str,
    items: Sequence[MixtureSet],
    compositions: Mapping[str, Compositions],
    isolated: Mapping[str, Mapping[int, float]],
    *,
    lone_atoms: bool,
) -> HeadEnergies:
    """The zero of a head from its sets, their compositions and their isolated atoms (eV), by name of the
    set."""
    constants, messages = _constants(head, items, compositions)
    parts = [compositions[item.name] for item in items]
    counts = np.concatenate([part.counts for part in parts])
    energies = np.concatenate(
        [
            part.mean - part.counts @ _column(constants.get(item.name, {}))
            for item, part in zip(items, parts, strict=True)
        ]
    )
    weights = np.concatenate([part.frames for part in parts])
    elements = np.flatnonzero(counts.any(axis=0)).tolist()
    counts = counts[:, elements]
    fitted = dict(zip(elements, least_squares(counts, energies, weights).tolist(), strict=True))
    if not lone_atoms:
        return HeadEnergies(fitted, False, {}, constants, tuple(messages))
    known = _isolated(head, [item for item in items if item.name not in constants], isolated)
    problem = None
    if missing := [z for z in elements if z not in known]:
        problem = f"there is none for {', '.join(symbols(missing))}"
    elif implausible(_per_atom(counts, energies, [known[z] for z in elements])):
        problem = "the frames have another zero of energy"
    if problem is None:
        atoms = {z: known[z] for z in elements}
    else:
        if known:
            messages.append(f"{head}: its isolated atoms are not used: {problem}.")
        cohesive = cohesive_energies()
        atoms = {z: fitted[z] + cohesive[z] for z in elements}
    binding = {z: fitted[z] - atoms[z] for z in elements}
    return HeadEnergies(atoms, problem is None, binding, constants, tuple(messages))


def _constants(
    head: str, items: Sequence[MixtureSet], compositions: Mapping[str, Compositions]
) -> tuple[dict[str, dict[int, float]], list[str]]:
    """Constants (eV per atom of each element) of the sets that have any, in the order of the recipe, and what
    is to be told."""
    lowest: Lowest = {}
    for item in items:
        if not item.constant:
            lowest = _joined(lowest, compositions[item.name].lowest)
    constants, messages = dict[str, dict[int, float]](), []
    for item in items:
        own = compositions[item.name].lowest
        if item.constant:
            fitted = _fitted_constants(item, head, own, lowest)
            constants[item.name] = fitted
            words = ", ".join(f"{symbol(z)} {energy:+.3f}" for z, energy in fitted.items())
            messages.append(
                f"{item.name}: constants in eV per atom beside the other sets of {head}: {words}."
            )
            moved = {
                key: e - sum(fitted.get(z, 0.0) * n for z, n in key) / _atoms(key) for key, e in own.items()
            }
            lowest = _joined(lowest, moved)
            continue
        others: Lowest = {}
        for other in items:
            if other is not item and not other.constant:
                others = _joined(others, compositions[other.name].lowest)
        shared = [own[key] - others[key] for key in own if key in others]
        if shared and abs(difference := float(np.median(shared))) > DISAGREEMENT:
            messages.append(
                f"{item.name}: its lowest energies are {difference:+.3f} eV/atom beside those of the other "
                f"sets of {head} ({len(shared)} shared compositions): another head, or constant = true?"
            )
    return constants, messages


def _fitted_constants(item: MixtureSet, head: str, own: Lowest, lowest: Lowest) -> dict[int, float]:
    """Constants (eV) of the elements in the compositions that a set shares with those before; elements that
    these lack need none.

    Raises:
        UsageError: elements that others have too, in no shared composition.
    """
    if not lowest:  # its zero is the head's
        return {}
    keys = [key for key in own if key in lowest]
    known = sorted({z for key in keys for z, _ in key})
    mine = {z for key in own for z, _ in key}
    elsewhere = {z for key in lowest for z, _ in key}
    undetermined = sorted((mine & elsewhere) - set(known))
    if not keys or undetermined:
        what = f"of {', '.join(symbols(undetermined))} " if undetermined else ""
        raise UsageError(
            f"The constant {what}in the set {item.name!r} cannot be fitted: it shares no composition "
            f"with the other sets of {head!r}.",
            hint="give it a head of its own",
        )
    rows = np.array([[dict(key).get(z, 0) / _atoms(key) for z in known] for key in keys])
    found = np.linalg.lstsq(rows, np.array([own[key] - lowest[key] for key in keys]), rcond=1e-8)[0]
    return dict(zip(known, found.tolist(), strict=True))


def _joined(one: Lowest, other: Lowest) -> Lowest:
    """The lower energy of every composition, eV/atom."""
    return {**one, **{key: min(energy, one.get(key, math.inf)) for key, energy in other.items()}}


def _atoms(key: Composition) -> int:
    return sum(count for _, count in key)


def _column(energies: Mapping[int, float]) -> NDArray[np.float64]:
    """Energies (128,) by atomic number, eV; zero where there is none."""
    column = np.zeros(_COLUMNS)
    for z, energy in energies.items():
        column[z] = energy
    return column


def _isolated(
    head: str, items: Sequence[MixtureSet], isolated: Mapping[str, Mapping[int, float]]
) -> dict[int, float]:
    """Isolated atoms of the sets without a constant, eV; UsageError where two of them differ."""
    found: dict[int, tuple[float, str]] = {}
    for item in items:
        for z, energy in isolated[item.name].items():
            before, owner = found.setdefault(z, (energy, item.name))
            if abs(before - energy) > SAME_ATOM:
                raise UsageError(
                    f"Two sets of the head {head!r} have different isolated atoms: {symbol(z)} {before:.3f} "
                    f"eV in {owner!r}, {energy:.3f} eV in {item.name!r}.",
                    hint="give one of them another head, or constant = true",
                )
    return {z: energy for z, (energy, _) in found.items()}


def _per_atom(
    counts: NDArray[np.float64], energies: NDArray[np.float64], atoms: Sequence[float]
) -> NDArray[np.float64]:
    """Binding energies (C,) in eV/atom."""
    return (energies - counts @ np.array(atoms)) / counts.sum(axis=1)
