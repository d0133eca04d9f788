"""Pack the sets of a recipe into one file.

Held-out sets are refused, geometries that occur in a held-out file or twice are left out, references are
fitted per set, outliers are dropped by rules that the recipe states, and a block-wise validation share is
marked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from jmp_calc.bonding import SMALLEST
from jmp_calc.errors import UsageError
from jmp_calc.io.progress import Say

from ..data.frame import Frame
from ..data.references import fit_references
from ..data.split import split_frames
from .compounds import formula_of, is_compound, reduced, validates
from .filters import ReadSet, Rules, read_set, remember_holdout
from .holdout import held_out
from .mixture import Mixture, MixtureSet
from .pack import MadeFrames, Packed, PackedSet
from .shards import Shards


def build(
    mixture: Mixture,
    data: Path,
    shards: Shards | None = None,
    *,
    say: Say = print,
    check_holdout: bool = True,
) -> Packed:
    """Read, filter, subsample and reference all sets of ``mixture`` from the folder ``data``, and those that
    are made from ``shards``."""
    rules = Rules(mixture, held_out() if check_holdout else None)
    if check_holdout:
        remember_holdout(rules, data, say)
    kept: list[tuple[PackedSet, list[Frame], np.ndarray]] = []
    made = read_validating(shards, rules)
    validating = {name for frames in made.values() for frame in frames for name in origins(frame)}
    for item in (item for item in mixture.sets if not item.records):
        if item.made is None:
            read = read_set(item, tuple(data / file for file in item.files), rules)
            train, valid = split_set(item, read, mixture)
        else:
            read, valid = read_set(item, made_paths(item, shards), rules), made[item.name]
            train = [frame for frame in read.frames if not validates_made(frame, validating)]
            read.dropped["validates"] += len(read.frames) - len(train)
        described, ordered = describe(item, train, valid, read)
        if item.made is not None and shards is not None:
            described = replace(described, made=made_frames(shards.labels(item), train))
        kept.append((described, ordered, np.arange(len(ordered)) >= described.n_train))
        elements = len({int(z) for f in ordered for z in np.unique(f.numbers)})
        say(
            f"{item.name:18s} {item.head:16s} train {described.n_train:5d} valid {described.n_valid:4d} "
            f"atoms {sum(f.n_atoms for f in ordered):7d} elements {elements:2d} F rms "
            f"{described.force_rms:.2f} "
            f"E std {described.energy_std:.3f} left out {dict(read.dropped)}"
        )
    packed = flatten(kept, rules)
    say(
        f"total: {len(packed)} frames, {len(packed.numbers)} atoms, {packed.n_edges.sum() / 1e6:.1f} M main "
        "edges"
    )
    return packed


def split_set(item: MixtureSet, read: ReadSet, mixture: Mixture) -> tuple[Sequence[Frame], Sequence[Frame]]:
    """Frames of a set that train, and those that validate."""
    frames = read.frames
    if item.split == "blocks":
        return split_frames(frames, valid_fraction(len(frames), mixture), mixture.seed)
    train = [frame for frame in frames if not validates(formula_of(frame.numbers))]
    known = {int(z) for frame in train for z in frame.numbers}
    others = [frame for frame in frames if validates(formula_of(frame.numbers))]
    valid = [frame for frame in others if {int(z) for z in frame.numbers} <= known]
    read.dropped["element without training"] += len(others) - len(valid)
    return train, valid


def read_validating(shards: Shards | None, rules: Rules) -> dict[str, list[Frame]]:
    """Validation frames of the sets that are made, by set; their molecules and compounds train nothing that
    is made."""
    found = {}
    for item in rules.mixture.sets:
        if item.made is not None:
            paths = made_paths(item, shards, valid=True)
            found[item.name] = read_set(item, paths, rules).frames if paths else []
    return found


def made_paths(item: MixtureSet, shards: Shards | None, *, valid: bool = False) -> tuple[Path, ...]:
    """Files of a set that was made; UsageError if there are none."""
    if shards is None:
        raise UsageError(
            f"The frames of the set {item.name!r} are made for every stage.", hint="--shards FOLDER"
        )
    if not valid:
        return (shards.train(item),)
    return (shards.valid(item),) if item.made is not None and item.made.valid_frames else ()


def made_frames(labels: str, train: Sequence[Frame]) -> MadeFrames:
    """What the card says of frames that were made."""
    kinds = Counter(frame.group for frame in train)
    subjects = {(frame.origin, frame.prototype) for frame in train if frame.origin is not None}
    return MadeFrames(labels, dict(sorted(kinds.items())), len(subjects))


def origins(frame: Frame) -> set[str]:
    """The molecule that a frame was made from; of a crystal that compound, and the one that it is (without an
    atom, say)."""
    if frame.pbc.any():
        return {formula_of(frame.numbers), *([] if frame.origin is None else [reduced(frame.origin)])}
    return {frame.origin or formula_of(frame.numbers)}


def validates_made(frame: Frame, validating: Collection[str]) -> bool:
    """Whether a frame that was made is of a molecule or compound that validates, here or in another set.

    Dimers and elements never are: every model must know them.
    """
    names = origins(frame)
    if not frame.pbc.any():
        return frame.n_atoms >= SMALLEST and not names.isdisjoint(validating)
    return any(is_compound(name) and (name in validating or validates(name)) for name in names)


def valid_fraction(count: int, mixture: Mixture) -> float:
    """Share of a set that validates: the recipe's, less where it would give more than the recipe's largest
    number."""
    return min(mixture.validation_fraction, mixture.validation_max / count)


def describe(
    item: MixtureSet,
    train: Sequence[Frame],
    valid: Sequence[Frame],
    read: ReadSet,
) -> tuple[PackedSet, list[Frame]]:
    """References and scales of the training frames, and all frames, training first."""
    references, residual = None, np.zeros(1)
    if item.energy:
        made = item.made is not None
        references = fit_references(train, read.isolated, mode="auto" if made else "lstsq")
        # An element that only validates has no reference; split_frames keeps such frames in training.
        residual = np.array([((f.energy or 0.0) - references.energy(f.numbers)) / f.n_atoms for f in train])
    forces = np.concatenate([f.forces for f in train if f.forces is not None])
    described = PackedSet(
        name=item.name,
        head=item.head,
        weight=item.weight,
        references=references.values if references else {},
        full_rank=references.full_rank if references else False,
        force_rms=float(np.sqrt(np.mean(forces**2))),
        energy_std=float(residual.std()),
        n_train=len(train),
        n_valid=len(valid),
        dropped=dict(read.dropped),
        licence=item.licence,
        source=item.source,
        citation=item.citation,
        files=item.files,
        isolated=dict(read.isolated),
    )
    return described, [*train, *valid]


def flatten(kept: Sequence[tuple[PackedSet, list[Frame], np.ndarray]], rules: Rules) -> Packed:
    """One set of flat arrays from the frames of all sets."""
    frames = [frame for _, group, _ in kept for frame in group]
    sizes = [frame.n_atoms for frame in frames]
    n_edges, degree = np.array([rules.counts[f.source, f.index] for f in frames], dtype=np.int64).T
    missing = np.full((3, 3), np.nan)
    return Packed(
        sets=tuple(described for described, _, _ in kept),
        numbers=np.concatenate([f.numbers for f in frames]).astype(np.uint8),
        positions=np.concatenate([centred(f) for f in frames]).astype(np.float32),
        forces=np.concatenate([f.forces for f in frames if f.forces is not None]).astype(np.float32),
        offset=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        energy=np.array([np.nan if f.energy is None else f.energy for f in frames]),
        cell=np.stack([f.cell for f in frames]),
        pbc=np.stack([f.pbc for f in frames]),
        stress=np.stack([missing if f.stress is None else f.stress for f in frames]).astype(np.float32),
        set_index=np.repeat(np.arange(len(kept)), [len(g) for _, g, _ in kept]).astype(np.uint8),
        valid=np.concatenate([mask for _, _, mask in kept]),
        n_edges=n_edges.astype(np.int32),
        degree=degree.astype(np.int16),
    )


def centred(frame: Frame) -> np.ndarray:
    """Positions (N, 3) in Å with the mean at the origin (molecules): float32 keeps most digits there."""
    return frame.positions if frame.pbc.any() else frame.positions - frame.positions.mean(0)
