"""Pack the sets of a recipe into one file.

Held-out sets are refused, geometries that occur in a held-out file or twice are left out, references are
fitted per set, outliers are dropped by rules that the recipe states, and a block-wise validation share is
marked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.graph.neighbours import neighbour_edges
from jmp_calc.io.progress import Say

from ..data.frame import Frame
from ..data.geometry_hash import Seen, key
from ..data.labels import read_labelled
from ..data.raw import read_raw
from ..data.references import fit_references
from ..data.split import split_frames
from .compounds import formula_of, is_compound, reduced, validates
from .mixture import Mixture, MixtureSet, holdout_patterns
from .pack import Packed, PackedSet
from .shards import Shards

MAIN_CUTOFF = 5.0
"""Å, of the main graph of jmp-xs: edges are counted here so that batches can be planned without building
graphs."""
MAX_DEGREE = 66
"""Largest number of main edges of one atom: denser frames are far beyond any use and cost the most."""
OUTLIER_SIGMAS = 12.0
OUTLIER_FLOOR = 2.0
"""eV/atom: energies closer than this to the median are never outliers."""

Counts = dict[tuple[str, int], tuple[int, int]]
"""Main edges and largest degree by (file, frame number)."""


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
    seen = Seen()
    if check_holdout:
        remember_holdout(seen, data, say)
    kept: list[tuple[PackedSet, list[Frame], np.ndarray]] = []
    counts: Counts = {}
    made = read_validating(mixture, shards, seen, counts)
    validating = {origin(frame) for frames in made.values() for frame in frames}
    for item in (item for item in mixture.sets if not item.records):
        if item.made is None:
            paths = tuple(data / file for file in item.files)
            frames, isolated, dropped = read_set(item, paths, seen, counts, mixture.seed)
            train, valid = split_set(item, frames, mixture, dropped)
        else:
            paths, valid = made_paths(item, shards), made[item.name]
            frames, isolated, dropped = read_set(item, paths, seen, counts, mixture.seed)
            train = [frame for frame in frames if not _validates(frame, validating)]
            dropped["validates"] += len(frames) - len(train)
        described, ordered = describe(item, train, valid, isolated, dropped)
        kept.append((described, ordered, np.arange(len(ordered)) >= described.n_train))
        elements = len({int(z) for f in ordered for z in np.unique(f.numbers)})
        say(
            f"{item.name:18s} {item.head:16s} train {described.n_train:5d} valid {described.n_valid:4d} "
            f"atoms {sum(f.n_atoms for f in ordered):7d} elements {elements:2d} F rms "
            f"{described.force_rms:.2f} "
            f"E std {described.energy_std:.3f} left out {dict(dropped)}"
        )
    packed = flatten(kept, counts)
    say(
        f"total: {len(packed)} frames, {len(packed.numbers)} atoms, {packed.n_edges.sum() / 1e6:.1f} M main "
        "edges"
    )
    return packed


def remember_holdout(seen: Seen, data: Path, say: Say) -> None:
    """Remember the geometries of all held-out labelled and test files that the folder has."""
    patterns = [p for reason in ("labelled", "tests", "licence") for p in holdout_patterns()[reason]]
    for path in sorted(data.glob("*.xyz*")):
        stem = path.name.split(".")[0]
        if any(fnmatchcase(stem, pattern) for pattern in patterns):
            for raw in read_raw(path).frames:
                seen.add(key(raw.numbers, raw.positions, raw.cell, raw.pbc), f"held-out {stem}")
    say(f"{len(seen)} held-out geometries remembered")


def split_set(
    item: MixtureSet, frames: list[Frame], mixture: Mixture, dropped: Counter[str]
) -> tuple[Sequence[Frame], Sequence[Frame]]:
    """Frames of a set that train, and those that validate."""
    if item.split == "blocks":
        return split_frames(frames, valid_fraction(len(frames), mixture), mixture.seed)
    train = [frame for frame in frames if not validates(formula_of(frame.numbers))]
    known = {int(z) for frame in train for z in frame.numbers}
    others = [frame for frame in frames if validates(formula_of(frame.numbers))]
    valid = [frame for frame in others if {int(z) for z in frame.numbers} <= known]
    dropped["element without training"] += len(others) - len(valid)
    return train, valid


def read_validating(
    mixture: Mixture, shards: Shards | None, seen: Seen, counts: Counts
) -> dict[str, list[Frame]]:
    """Validation frames of the sets that are made, by set; their molecules and compounds train nothing that
    is made."""
    found = {}
    for item in mixture.sets:
        if item.made is not None:
            paths = made_paths(item, shards, valid=True)
            found[item.name] = read_set(item, paths, seen, counts, mixture.seed)[0] if paths else []
    return found


def made_paths(item: MixtureSet, shards: Shards | None, *, valid: bool = False) -> tuple[Path, ...]:
    """Files of a set that was made; UsageError if there are none."""
    if shards is None:
        raise UsageError(
            f"The frames of the set {item.name!r} are made for every stage.", hint="--shards FOLDER"
        )
    if not valid:
        return shards.train(item)
    return shards.valid(item) if item.made is not None and item.made.valid_frames else ()


def origin(frame: Frame) -> str:
    """The molecule that a frame was made from, or its reduced formula."""
    if frame.origin is None:
        return formula_of(frame.numbers)
    return reduced(frame.origin) if frame.pbc.any() else frame.origin


def _validates(frame: Frame, validating: Collection[str]) -> bool:
    name = origin(frame)
    if not frame.pbc.any():
        return name in validating
    return is_compound(name) and (name in validating or validates(name))


def read_set(
    item: MixtureSet, paths: Sequence[Path], seen: Seen, counts: Counts, seed: int
) -> tuple[list[Frame], dict[int, float], Counter[str]]:
    """Frames of one set after all filters and the cap, energies of isolated atoms in its files, and how many
    frames were left out for which reason.

    Raises:
        BadInputError: too few usable frames.
    """
    dropped: Counter[str] = Counter()
    frames: list[Frame] = []
    isolated: dict[int, float] = {}
    for path in paths:
        allowed = matching_info(path, item.info) if item.info else None
        labelled = read_labelled(path, require=(), units=item.units)
        isolated |= labelled.isolated
        for frame in labelled.frames:
            if not item.wants(frame.group):
                continue
            if allowed is not None and frame.index not in allowed:
                dropped["info"] += 1
                continue
            reason = fault(frame, item, counts)
            if reason:
                dropped[reason] += 1
            else:
                frames.append(frame)
    frames = [frame for frame, good in zip(frames, typical_energies(frames, item, dropped)) if good]
    unique = []
    for frame in subsample(frames, item.cap, item.select, seed) if len(frames) > 4 * item.cap else frames:
        keys = key(frame.numbers, frame.positions, frame.cell, frame.pbc)
        owner = seen.find(keys)
        if owner is None or (item.made is not None and not owner.startswith("held-out")):
            if item.made is None:  # two teachers label the same structures
                seen.add(keys, item.name)
            unique.append(frame)
        else:
            dropped["held out" if owner.startswith("held-out") else "duplicate"] += 1
    chosen = subsample(unique, item.cap, item.select, seed)
    if len(chosen) < 2:
        raise BadInputError(
            f"Set {item.name!r} has {len(chosen)} usable frames.",
            where=", ".join(str(path) for path in paths),
            hint=f"left out: {dict(dropped)}",
        )
    return (
        [
            replace(
                f,
                energy=f.energy if item.energy else None,
                stress=f.stress if item.wants_stress(f.group) else None,
            )
            for f in chosen
        ],
        isolated,
        dropped,
    )


def matching_info(path: Path, info: dict[str, int | float | str]) -> set[int]:
    """Frame numbers whose entries have the wanted values where they are present."""

    def same(value: object, wanted: int | float | str) -> bool:
        text = str(value).strip().strip('"')
        number = {"f": 0.0, "false": 0.0, "t": 1.0, "true": 1.0}.get(text.lower())
        if isinstance(wanted, str):
            return text == wanted
        try:
            return (float(text) if number is None else number) == float(wanted)
        except ValueError:
            return False

    return {
        raw.index
        for raw in read_raw(path).frames
        if all(same(raw.info[name], wanted) for name, wanted in info.items() if name in raw.info)
    }


def fault(frame: Frame, item: MixtureSet, counts: Counts) -> str | None:
    """Why a frame is not used, or None; remembers its number of edges."""
    if frame.forces is None or frame.energy is None:
        return "no forces or energy"
    if frame.n_atoms > item.max_atoms:
        return "atoms"
    if frame.n_atoms < 2 and not frame.pbc.any():
        return "lone atom"
    if float(np.linalg.norm(frame.forces, axis=1).max()) > item.max_force:
        return "force"
    edges, _ = neighbour_edges(frame.positions, frame.cell, frame.pbc, MAIN_CUTOFF)
    degree = int(np.bincount(edges.target, minlength=1).max())
    counts[frame.source, frame.index] = len(edges), degree
    return None if 0 < degree <= MAX_DEGREE else "density"


def typical_energies(frames: Sequence[Frame], item: MixtureSet, dropped: Counter[str]) -> list[bool]:
    """Mask of frames whose referenced energy per atom is not an outlier of the set (median and MAD)."""
    if len(frames) < 20:
        return [True] * len(frames)
    references = fit_references(frames, mode="lstsq")
    residual = np.array([((f.energy or 0.0) - references.energy(f.numbers)) / f.n_atoms for f in frames])
    distance = np.abs(residual - np.median(residual))
    limit = max(OUTLIER_FLOOR, OUTLIER_SIGMAS * 1.4826 * float(np.median(distance)))
    dropped["energy"] += int((distance > limit).sum())
    return list(distance <= limit)


def subsample(frames: list[Frame], cap: int, select: str, seed: int) -> list[Frame]:
    """At most ``cap`` frames: evenly along the file, or a fixed random draw; file order stays."""
    if len(frames) <= cap:
        return frames
    if select == "even":
        chosen = np.unique(np.round(np.linspace(0, len(frames) - 1, cap)).astype(int))
    else:
        chosen = np.sort(np.random.default_rng(seed).choice(len(frames), cap, replace=False))
    return [frames[i] for i in chosen]


def valid_fraction(count: int, mixture: Mixture) -> float:
    """Share of a set that validates: the recipe's, less where it would give more than the recipe's largest
    number."""
    return min(mixture.validation_fraction, mixture.validation_max / count)


def describe(
    item: MixtureSet,
    train: Sequence[Frame],
    valid: Sequence[Frame],
    isolated: Mapping[int, float],
    dropped: Counter[str],
) -> tuple[PackedSet, list[Frame]]:
    """References and scales of the training frames, and all frames, training first."""
    references, residual = None, np.zeros(1)
    if item.energy:
        made = item.made is not None
        references = fit_references(train, isolated, mode="auto" if made else "lstsq")
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
        dropped=dict(dropped),
        licence=item.licence,
        source=item.source,
        citation=item.citation,
        files=item.files,
    )
    return described, [*train, *valid]


def flatten(kept: Sequence[tuple[PackedSet, list[Frame], np.ndarray]], counts: Counts) -> Packed:
    """One set of flat arrays from the frames of all sets."""
    frames = [frame for _, group, _ in kept for frame in group]
    sizes = [frame.n_atoms for frame in frames]
    n_edges, degree = np.array([counts[f.source, f.index] for f in frames], dtype=np.int64).T
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
