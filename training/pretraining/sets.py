"""The data sets of a pre-training: from a pack in memory, and from record folders on disk."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from jmp_calc.errors import UsageError
from jmp_calc.io.progress import Say

from ..batches.tasks import Task
from .build_pack import build
from .chain import StageFile
from .energies import with_one_zero
from .filters import not_looked_through
from .make import make_missing, read_makers
from .mixture import Mixture, MixtureSet
from .options import PretrainOptions
from .pack import MadeFrames, Packed, PackedSet, load_packed, save_packed
from .recipe import PACK_FILE, PretrainRecipe
from .record_sets import record_set
from .shards import Shards
from .source_set import PackedFrames, Part, SourceSet

FORCE_SCALE_RANGE = (0.3, 2.0)
"""eV/Å: bounds of the force scale of a set (else nearly relaxed sets would be fitted below their noise)."""
ENERGY_LENGTH = 0.1
"""Å: energy errors per atom count in units of this times the force scale of the set."""


def packed_sets(packed: Packed, mixture: Mixture) -> list[SourceSet]:
    """The sets of a pack without frames that are too large for the mixture."""
    atoms = np.diff(packed.offset)
    sizes = np.stack([atoms, packed.n_edges, packed.degree], axis=1).astype(np.int64)
    made = {item.name for item in mixture.sets if item.made is not None}
    references, whole = packed.reference_energies(), fingerprint(packed, made)
    sources = []
    for number, item in enumerate(packed.sets):
        members = packed.set_index == number
        train = np.flatnonzero(members & ~packed.valid & (packed.n_edges <= mixture.max_frame_edges))
        valid = np.flatnonzero(members & packed.valid)
        if not len(train):
            continue
        rest = (packed.energy - references)[train]
        sources.append(
            SourceSet(
                item,
                PackedFrames(packed, train),
                PackedFrames(packed, valid),
                sizes[train],
                sizes[valid],
                float(np.nanstd(rest)) if np.isfinite(rest).any() else 1.0,
                float(atoms[train].mean()),
                whole,
            )
        )
    return sources


def with_few_valid(source: SourceSet, count: int) -> SourceSet:
    """The same set with at most ``count`` validation frames."""
    few = min(count, len(source.valid))
    return replace(source, valid=Part(source.valid, 0, few), valid_sizes=source.valid_sizes[:few])


def fingerprint(packed: Packed, without: Collection[str] = ()) -> str:
    """Hash of all frames and labels of a pack, ``without`` those of some sets."""
    of_set = np.array([item.name not in without for item in packed.sets])
    frames = of_set[packed.set_index]
    atoms = np.repeat(frames, np.diff(packed.offset))
    digest = hashlib.sha256()
    for array, kept in (
        (packed.numbers, atoms),
        (packed.positions, atoms),
        (packed.forces, atoms),
        (packed.energy, frames),
        (packed.cell, frames),
        (packed.stress, frames),
        (packed.set_index, frames),
        (packed.valid, frames),
    ):
        digest.update(np.ascontiguousarray(array[kept]).tobytes())
    return digest.hexdigest()


def task_of(source: SourceSet, item: MixtureSet, mixture: Mixture) -> Task:
    """The units in which the errors of a set enter the loss.

    ``jmp``: referenced energies in units of their standard deviation, forces of their root mean square, force
        errors times the mean number of atoms (``training.md`` sections 3 and 8). ``force_scale``: energies
        per atom, forces and virials per atom in units of the force scale, so that no level of theory or
        temperature dominates. ``absolute``: eV per atom, eV/Å and eV/Å³, as in fine-tuning.
    """
    task = Task(
        item.head,
        item.name,
        references=source.references,
        energy_margin=item.energy_margin,
        forces_margin=item.forces_margin,
        cutoff=item.cutoff,
    )
    if mixture.normalisation == "jmp":
        return replace(
            task,
            energy_unit=source.energy_std or 1.0,
            energy_per_atom=False,
            forces_unit=source.force_rms / round(source.mean_atoms),
        )
    if mixture.normalisation == "absolute":
        return task
    scale = force_scale(source.force_rms)
    return replace(task, energy_unit=ENERGY_LENGTH * scale, forces_unit=scale, stress_unit=None)


def force_scale(force_rms: float) -> float:
    """Unit of force errors of a set, eV/Å."""
    return float(np.clip(force_rms, *FORCE_SCALE_RANGE))


def source_sets(
    recipe: PretrainRecipe, folder: Path | None, options: PretrainOptions, say: Say
) -> list[SourceSet]:
    """All data sets in the order of the recipe, from the pack and from record folders (``mixture_frames``),
    with one zero of energy per head (``energies.py``).

    UsageError naming those that the pack lacks, or those of a head that contradict each other.
    """
    mixture, found = recipe.mixture, {}
    if any(not item.records for item in mixture.sets):
        found = {
            source.name: source
            for source in packed_sets(mixture_frames(recipe, folder, options, say), mixture)
        }
    for item in mixture.sets:
        if item.records:
            found[item.name] = record_set(item, options.data or Path(), mixture)
            say(not_looked_through(item, found[item.name].train, mixture))
    absent = [item.name for item in mixture.sets if item.name not in found]
    if absent:  # their heads would be written untrained
        raise UsageError(
            f"The pack has no frames to train on of {', '.join(absent)}.",
            where=str(options.pack or folder),
            hint="pack anew with --data FOLDER, or take the sets (and heads that only they train) out of "
            "the recipe",
        )
    in_order = [under_head(found[item.name], item.head) for item in mixture.sets]
    described = with_one_zero(in_order, mixture, lone_atoms=recipe.model.subtract_lone_atom, say=say)
    in_order = [replace(source, described=described[source.name]) for source in in_order]
    start = None if recipe.stage is None else recipe.stage.start
    return in_order if start is None else with_references_of(start, in_order)


def under_head(source: SourceSet, head: str) -> SourceSet:
    """The set under a head of the recipe, which may have another name than when the set was packed."""
    return replace(source, described=replace(source.described, head=head))


def with_references_of(start: StageFile, sets: Iterable[SourceSet]) -> list[SourceSet]:
    """The sets with the references of an earlier stage where it had them: the zero of an energy stays."""
    before = {item.name: item for item in start.sets}
    return [
        replace(source, described=_going_on(source.described, before[source.name]))
        if source.name in before
        else source
        for source in sets
    ]


def _going_on(now: PackedSet, before: PackedSet) -> PackedSet:
    """A set of this stage with the zero that it had; elements that are new get one from this stage."""
    return replace(
        now,
        references={**now.references, **before.references},
        constants={**now.constants, **before.constants},
        isolated_references=before.isolated_references,
        binding={**now.binding, **before.binding},
        made=_made_so_far(now.made, before.made),
    )


def _made_so_far(now: MadeFrames | None, before: MadeFrames | None) -> MadeFrames | None:
    """What was made for all stages; labels are those of the last."""
    if now is None or before is None:
        return now
    kinds = Counter(before.kinds) + Counter(now.kinds)
    return replace(now, kinds=dict(kinds), subjects=before.subjects + now.subjects)


def shards_of(recipe: PretrainRecipe, options: PretrainOptions) -> Shards | None:
    """Where the frames lie that this run makes for itself; None: nowhere."""
    if options.shards is None:
        return None
    return Shards(options.shards, 1 if recipe.stage is None else recipe.stage.number)


def mixture_frames(recipe: PretrainRecipe, folder: Path | None, options: PretrainOptions, say: Say) -> Packed:
    """The frames of all files: from a given pack, from the one in ``folder``, or read from the data and
    packed there.

    Without a folder nothing is written.

    Raises:
        UsageError: no data.
    """
    own = None if folder is None else folder / PACK_FILE
    if options.pack is not None:
        return load_packed(options.pack)
    if own is not None and own.is_file():
        return load_packed(own)
    mixture = recipe.mixture
    if options.data is None and any(item.files for item in mixture.sets):
        raise UsageError(
            "There are no data.", where=mixture.name, hint="--data FOLDER with the files of the recipe"
        )
    shards = shards_of(recipe, options)
    if shards is not None:
        make_missing(mixture, shards, recipe.seed, read_makers(options.teachers), say, options.data)
    packed = build(mixture, options.data or Path(), shards, say=say)
    if own is not None:
        save_packed(own, packed, recipe.content)
    return packed
