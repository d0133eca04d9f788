"""Which frames of a set are used: what its files and the recipe allow, what is not held out, and every
geometry once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from jmp_calc.errors import BadInputError
from jmp_calc.graph.neighbours import neighbour_edges
from jmp_calc.io.progress import Say

from ..data.frame import Frame, spread
from ..data.geometry_hash import Seen, key
from ..data.labels import read_labelled
from ..data.raw import read_raw
from ..data.references import fit_references
from .compounds import formula_of, reduced
from .holdout import HeldOut, held_out
from .mixture import Mixture, MixtureSet, holdout_patterns

MAIN_CUTOFF = 5.0
"""Å, of the main graph of jmp-xs: edges are counted here so that batches can be planned without building
graphs."""
LOOKED_AT = 200
"""Frames of a record set."""
OUTLIER_SIGMAS = 12.0
OUTLIER_FLOOR = 2.0
"""eV/atom: energies closer than this to the median are never outliers."""


@dataclass(frozen=True, eq=False)
class Rules:
    """What decides over the frames of all sets of a mixture, and what is known of those so far."""

    mixture: Mixture
    held_out: HeldOut | None
    """Molecules and crystals that are left out; None: all are allowed."""
    seen: Seen = field(default_factory=Seen)
    counts: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    """Main edges and largest degree by file and number of the frame."""


@dataclass(frozen=True, eq=False)
class ReadSet:
    """The frames of one set that are used."""

    frames: list[Frame]
    isolated: dict[int, float]
    """eV by atomic number: isolated atoms in the files."""
    dropped: Counter[str]
    """How many frames were left out for which reason."""


def remember_holdout(rules: Rules, data: Path, say: Say) -> None:
    """Remember the geometries of all held-out labelled and test files that the folder has."""
    patterns = [p for reason in ("labelled", "same", "tests", "licence") for p in holdout_patterns()[reason]]
    for path in sorted(data.glob("*.xyz*")):
        stem = path.name.split(".")[0]
        if any(fnmatchcase(stem, pattern) for pattern in patterns):
            for raw in read_raw(path).frames:
                rules.seen.add(key(raw.numbers, raw.positions, raw.cell, raw.pbc), f"held-out {stem}")
    say(f"{len(rules.seen)} held-out geometries remembered")


def read_set(item: MixtureSet, paths: Sequence[Path], rules: Rules) -> ReadSet:
    """Frames of one set after all filters and the cap.

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
            if item.made is not None:  # all of these files have one name
                frame = replace(frame, source="/".join(path.parts[-3:]))
            reason = (
                "info" if allowed is not None and frame.index not in allowed else fault(frame, item, rules)
            )
            if reason:
                dropped[reason] += 1
            else:
                frames.append(frame)
    frames = [frame for frame, good in zip(frames, typical_energies(frames, item, dropped)) if good]
    chosen = subsample(unique(frames, item, rules, dropped), item.cap, item.select, rules.mixture.seed)
    if len(chosen) < 2:
        raise BadInputError(
            f"Set {item.name!r} has {len(chosen)} usable frames.",
            where=", ".join(str(path) for path in paths),
            hint=f"left out: {dict(dropped)}",
        )
    return ReadSet([wanted_labels(frame, item) for frame in chosen], isolated, dropped)


def unique(frames: list[Frame], item: MixtureSet, rules: Rules, dropped: Counter[str]) -> list[Frame]:
    """Frames whose geometries no held-out file has and, but for those that are made, no other frame."""
    if len(frames) > 4 * item.cap:
        frames = subsample(frames, item.cap, item.select, rules.mixture.seed)
    found = []
    for frame in frames:
        keys = key(frame.numbers, frame.positions, frame.cell, frame.pbc)
        owner = rules.seen.find(keys) or ""
        if owner.startswith("held-out") or is_held_out(frame, item, rules):
            dropped["held out"] += 1
        elif owner and item.made is None:
            dropped["duplicate"] += 1
        else:
            if item.made is None:  # two teachers label the same structures
                rules.seen.add(keys, item.name)
            found.append(frame)
    return found


def is_held_out(frame: Frame, item: MixtureSet, rules: Rules) -> bool:
    """Whether a frame holds a molecule, or is a crystal, that is held out: of what is made, by what it was
    made from."""
    if rules.held_out is None:
        return False
    if item.made is None:
        return rules.held_out.has(frame)
    if frame.pbc.any():
        return rules.held_out.has_compound(reduced(frame.origin or formula_of(frame.numbers)))
    return rules.held_out.has_sampled(frame.molecules)


def not_looked_through(item: MixtureSet, frames: Sequence[Frame], mixture: Mixture) -> str:
    """What to say of a set that is read from records, whose frames are trained on as they are: how many of a
    few hold what is held out."""
    rules, some = Rules(mixture, held_out()), spread(frames, LOOKED_AT)
    count = sum(is_held_out(frame, item, rules) for frame in some)
    return (
        f"Set {item.name!r} is read from records, which are not looked through for what is held out: "
        f"{count} of {len(some)} frames hold such molecules or are such crystals."
    )


def wanted_labels(frame: Frame, item: MixtureSet) -> Frame:
    """The frame with the labels that are trained on."""
    return replace(
        frame,
        energy=frame.energy if item.energy else None,
        stress=frame.stress if item.wants_stress(frame.group) else None,
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


def fault(frame: Frame, item: MixtureSet, rules: Rules) -> str | None:
    """Why a frame is not used, or None; remembers its number of edges."""
    if frame.forces is None or frame.energy is None:
        return "no forces or energy"
    labels = (frame.energy, frame.forces, frame.stress)
    if not all(label is None or np.isfinite(label).all() for label in labels):
        return "not finite"
    if frame.n_atoms > item.max_atoms:
        return "atoms"
    if frame.n_atoms < 2 and not frame.pbc.any():
        return "lone atom"
    if float(np.linalg.norm(frame.forces, axis=1).max()) > item.max_force:
        return "force"
    edges, _ = neighbour_edges(frame.positions, frame.cell, frame.pbc, MAIN_CUTOFF)
    degree = int(np.bincount(edges.target, minlength=1).max())
    rules.counts[frame.source, frame.index] = len(edges), degree
    if len(edges) > rules.mixture.max_frame_edges:
        return "edges"
    return None if 0 < degree <= rules.mixture.max_degree else "density"


def typical_energies(frames: Sequence[Frame], item: MixtureSet, dropped: Counter[str]) -> list[bool]:
    """Mask of frames whose referenced energy per atom is not an outlier of the set (median and MAD)."""
    if len(frames) < 20:
        return [True] * len(frames)
    references = fit_references(frames, mode="lstsq")
    residual = np.array([((f.energy or 0.0) - references.energy(f.numbers)) / f.n_atoms for f in frames])
    distance = np.abs(residual - np.median(residual))
    limit = max(OUTLIER_FLOOR, OUTLIER_SIGMAS * 1.4826 * float(np.median(distance)))
    if outliers := int((distance > limit).sum()):
        dropped["energy"] += outliers
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
