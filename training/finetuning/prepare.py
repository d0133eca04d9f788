"""The data of a fine-tuning before anything is computed: read, split, referenced and audited."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from jmp_calc.errors import UsageError
from jmp_calc.io.progress import Say

from ..audit.audit import AuditReport, audit
from ..batches.replay import check_share
from ..config import TrainConfig
from ..data.frame import Frame, LabelledSet
from ..data.labels import read_labelled
from ..data.references import MODES, References, fit_references, load_references
from ..data.sources import Sources, read_each, sources
from ..data.split import every_nth, split_frames
from ..targets.fit import FittedTarget, fit_target, with_target
from ..targets.options import TargetTask
from .arguments import TrainSettings
from .counted import refuse_nothing, required_labels
from .earlier import EarlierSet, read_earlier, refuse_known, without_held_out
from .options import SCRATCH, VALID_FRACTION, DataOptions, ModelOptions, refuse_energies, refuse_old_weights
from .recipe_frames import force_rms, read_recipe_frames, recipe_folder
from .recipes import FinetuneRecipe

if TYPE_CHECKING:
    from jmp_calc.zoo.container import LoadedModel

    from ..audit.findings import Finding


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything that is known before training; what ``--dry-run`` shows."""

    data: DataOptions
    """With the files that were found, and the kind of the target."""
    start: ModelOptions
    config: TrainConfig
    train: tuple[Frame, ...]
    valid: tuple[Frame, ...]
    test: tuple[Frame, ...]
    references: References | None
    target: FittedTarget | None
    """The target as the training frames decide it; None for energies."""
    audit: AuditReport
    loaded: LoadedModel
    messages: tuple[str, ...]
    began: float
    """time.monotonic() at the start; the time budget counts from here."""
    retained: tuple[EarlierSet, ...] = ()
    replayed: tuple[EarlierSet, ...] = ()


@dataclass(frozen=True, eq=False)
class _Frames:
    """The three parts of the data, and what was found while reading them."""

    train: tuple[Frame, ...]
    valid: tuple[Frame, ...]
    test: tuple[Frame, ...]
    messages: list[str]
    isolated: dict[int, float] = field(default_factory=dict)
    """Energy in eV of isolated atoms by atomic number."""


def prepare(data: DataOptions, start: ModelOptions, config: TrainSettings, say: Say) -> Prepared:
    """Read, split, audit and reference the data and find the start model; computes nothing expensive.

    ``config``: the settings, or what makes them from the defaults or from those of ``data.recipe``.
    UsageError for choices that contradict each other, or no frames to train on or to validate on.
    """
    began = time.monotonic()
    data.check()
    _check_earlier(data, start)
    if data.train is None:
        raise UsageError(
            "No training data were given.",
            where=None if data.recipe is None else f"recipe {data.recipe.name}",
            hint="name a file: jmp-calc finetune train.extxyz"
            if data.recipe is None
            else "add --data FOLDER; jmp-calc data list says what it must hold",
        )
    if data.recipe is not None:
        start = start.for_recipe(data.recipe)
        loaded = load_start(start)
        found, data, config = _of_recipe(data.recipe, data, loaded, config)
    else:
        config = settled(config, TrainConfig())
        if data.target is not None:
            refuse_energies(config)
            config = config.for_target()
        refuse_old_weights(start, config)
        loaded = load_start(start)
        found, data = _of_files(data, config)
    refuse_old_weights(start, config)
    return _examined(found, data, start, config, loaded, began, say)


def settled(config: TrainSettings, before: TrainConfig) -> TrainConfig:
    """The settings that are meant, where those of ``before`` would hold else."""
    return config if isinstance(config, TrainConfig) else config(before)


def _of_files(data: DataOptions, config: TrainConfig) -> tuple[_Frames, DataOptions]:
    """The frames of the user's own data, and the settings with what was found."""
    messages: list[str] = []
    required = required_labels(data, config)
    train_from, valid_from, test_from = (sources(item) for item in (data.train, data.valid, data.test))
    data = dataclasses.replace(data, **_found(train_from, valid_from, test_from))
    given = _read(train_from, data, required, messages, data.index)
    if data.target is not None:  # the other files are read as this one
        data = dataclasses.replace(
            data, target=dataclasses.replace(data.target, kind=data.target.kind or given.target_kind)
        )
    valid_set, test_set = (_read(item, data, required, messages) for item in (valid_from, test_from))
    for item, found in ((valid_from, valid_set), (test_from, test_set)):
        if found.isolated:
            messages.append(
                f"{item.name}: its isolated atoms are not used: references come from the training data, or "
                "from this file with --E0s FILE"
            )
    train, valid = given.frames, valid_set.frames
    if not valid_from:
        train, valid = _split(train, data, messages)
    if not train or not valid:
        raise UsageError(
            f"There are {len(train)} frames to train on and {len(valid)} to validate on.",
            where=train_from.where,
            hint="give more frames, or a file with --valid",
        )
    if data.target is None:
        where = {"training": train_from.where, "validation": (valid_from or train_from).where}
        lacking = refuse_nothing(train, valid, config, where)
        messages.extend([lacking] if lacking else [])
    return _Frames(train, valid, test_set.frames, messages, given.isolated), data


def _found(train: Sources, valid: Sources, test: Sources) -> dict[str, Any]:
    """Fields of DataOptions: the files of patterns and folders, in the order in which they are read."""
    parts = {"train": train, "valid": valid, "test": test}
    return {name: (item.files or item.structures) if item else None for name, item in parts.items()}


def _read(
    given: Sources, data: DataOptions, required: Sequence[str], messages: list[str], index: str = ":"
) -> LabelledSet:
    """The frames with labels; none if there is nothing to read."""
    if not given:
        return LabelledSet(())
    found = read_each(
        given,
        partial(
            read_labelled,
            keys=data.keys,
            index=index,
            allow_truncated=data.allow_truncated,
            require=required,
            units=data.units,
            target=data.target.key if data.target else None,
            target_kind=data.target.label_kind if data.target else None,
            other_states="not_neutral" in data.allow,
        ),
    )
    single = len(given.files) < 2  # of several, every message has its own names
    messages.extend(f"{given.name}: {message}" if single else message for message in found.messages)
    frames = _chosen(found.frames, data.groups, given.where)
    return dataclasses.replace(found, frames=_with_target(frames, data.target, messages))


def _split(
    frames: tuple[Frame, ...], data: DataOptions, messages: list[str]
) -> tuple[tuple[Frame, ...], tuple[Frame, ...]]:
    """Training and validation frames."""
    if data.valid_every is not None:
        train, valid = every_nth(frames, data.valid_every)
        how = f"every {data.valid_every}th frame"
    else:
        fraction = VALID_FRACTION if data.valid_fraction is None else data.valid_fraction
        train, valid = split_frames(frames, fraction, data.seed)
        how = "contiguous blocks of every group"
    messages.append(f"validation: {len(valid)} of {len(frames)} training frames, {how}")
    return train, valid


def _of_recipe(
    recipe: FinetuneRecipe, data: DataOptions, loaded: LoadedModel, config: TrainSettings
) -> tuple[_Frames, DataOptions, TrainConfig]:
    """The frames of the data set of a published task, its file, and the settings."""
    found = read_recipe_frames(
        recipe,
        recipe_folder(data.train),
        split=data.split,
        test_frames=data.test_frames,
        on_bad=data.on_bad,
    )
    blocks = loaded.potential.config.backbone.num_blocks
    task = recipe.target_task
    config = settled(config, recipe.train_config(blocks, force_rms(found.train) if task is None else 1.0))
    config = config if task is None else config.for_target()
    messages = list(found.messages)
    if recipe.layerwise and not config.optim.layer_rates:
        messages.append(
            f"the recipe has layer-wise learning rates for JMP-S and JMP-L only, none for {blocks} blocks: "
            "one learning rate for all weights"
        )
    # Properties of materials repeat structures across published folds, and leave rare elements to the test
    # part.
    known = () if task is None else ("duplicates", "unseen_element")
    data = dataclasses.replace(data, train=found.path, target=task, allow=(*data.allow, *known))
    train, valid, test = (
        _with_target(frames, task, messages) for frames in (found.train, found.valid, found.test)
    )
    return _Frames(train, valid, test, messages), data, config


def _examined(
    found: _Frames,
    data: DataOptions,
    start: ModelOptions,
    config: TrainConfig,
    loaded: LoadedModel,
    began: float,
    say: Say,
) -> Prepared:
    """Subset, references or statistics of the target, and audit of the frames that were read; and the earlier
    data."""
    messages = found.messages
    train, target, references = _few(found.train, data, messages), None, None
    valid, test = found.valid, found.test
    if data.target is not None:
        target = fit_target(train, data.target)
        messages.append(target.message)
        train, valid, test = (target.encoded(frames) for frames in (train, valid, test))
    if any(frame.energy is not None for frame in train):
        references = fit_references(train, found.isolated, _reference_mode(data))
        messages.extend(references.messages)
    report = audit(
        train,
        valid,
        test,
        require=required_labels(data, config),
        allow=data.allow,
        target=data.target.key if data.target and data.target.kind != "vector" else None,
        lone_atoms=None if references is None else references.lone_atoms,
    )
    retained, replayed = _earlier(data, train, (*valid, *test), messages)
    for message in [*messages, *(str_finding(finding) for finding in report.findings)]:
        say(message)
    return Prepared(
        data=data,
        start=start,
        config=config,
        train=train,
        valid=valid,
        test=test,
        references=references,
        target=target,
        audit=report,
        loaded=loaded,
        messages=tuple(messages),
        began=began,
        retained=retained,
        replayed=replayed,
    )


def _earlier(
    data: DataOptions, train: Sequence[Frame], held_out: Sequence[Frame], messages: list[str]
) -> tuple[tuple[EarlierSet, ...], tuple[EarlierSet, ...]]:
    """Earlier data that are retained, and those that are replayed."""
    retained, replayed = (
        tuple(read_earlier(text, keys=data.keys, units=data.units) for text in texts)
        for texts in (data.retain, data.replay)
    )
    replayed = tuple(without_held_out(item, held_out) for item in replayed)
    refuse_known(retained, [*train, *(frame for item in replayed for frame in item.frames)])
    units = data.units.named
    for use, sets in (("retained", retained), ("replayed", replayed)):
        for item in sets:
            messages.append(
                f"{item.name}: {len(item.frames)} frames are {use}"
                f"{f', converted from {units} as the training frames' if units else ''}"
            )
            messages.extend(f"{item.name}: {message}" for message in item.messages)
    return retained, replayed


def _reference_mode(data: DataOptions) -> str | Mapping[Any, float]:
    """How the references are found, or their values if a file has them."""
    given = data.references
    if isinstance(given, Mapping) or str(given) in MODES:
        return given if isinstance(given, Mapping) else str(given)
    return load_references(given, keys=data.keys, units=data.units)


def str_finding(finding: Finding) -> str:
    """One line: how bad, where, what, and what to do."""
    where = f" [{finding.where}]" if finding.where else ""
    return f"audit {finding.severity} {finding.code}: {finding.message}{where} {finding.hint}".rstrip()


def _with_target(
    frames: tuple[Frame, ...], task: TargetTask | None, messages: list[str]
) -> tuple[Frame, ...]:
    """All frames, or those with the target, with a message about the others."""
    if task is None:
        return frames
    kept = with_target(frames, task.key)
    if len(kept) < len(frames):
        what = f"{'' if any(frame.classes for frame in frames) else 'finite '}{task.key!r}"
        messages.append(f"{len(frames) - len(kept)} of {len(frames)} frames have no {what} and are left out")
    return kept


def _chosen(frames: tuple[Frame, ...], groups: Sequence[str], where: str) -> tuple[Frame, ...]:
    """Frames whose group, or set of elements written like ``Si`` or ``Cu-O``, was asked for."""
    if not groups:
        return frames
    from jmp_calc.model.elements import symbol

    def elements(frame: Frame) -> str:
        return "-".join(sorted(symbol(z) for z in np.unique(frame.numbers)))

    kept = tuple(frame for frame in frames if frame.group in groups or elements(frame) in groups)
    if not kept:
        known = sorted({frame.group for frame in frames} | {elements(frame) for frame in frames})
        raise UsageError(
            f"No frame belongs to {', '.join(groups)}.",
            where=where,
            hint=f"groups and elements of the file: {', '.join(known[:20])}",
        )
    return kept


def _check_earlier(data: DataOptions, start: ModelOptions) -> None:
    """UsageError for retained or replayed data that the run has no use for."""
    if start.from_scratch and (data.retain or data.replay):
        raise UsageError(
            f"--from-scratch and {'--retain' if data.retain else '--replay'} contradict each other.",
            hint="a network with new weights knows no earlier data: leave one of them out",
        )
    if data.replay:
        check_share(data.share)
        if data.target or (data.recipe and data.recipe.target_task):
            raise UsageError(
                "--target and --replay contradict each other.",
                hint="leave one of them out: earlier energies have no meaning in a run on a target",
            )


def _few(train: tuple[Frame, ...], data: DataOptions, messages: list[str]) -> tuple[Frame, ...]:
    """The random subset that was asked for, in file order; the same frames and seed give the same one."""
    if data.n_train is None:
        return train
    if not 0 < data.n_train <= len(train):
        raise UsageError(
            f"{data.n_train} of {len(train)} training frames were asked for.",
            hint=f"--n-train between 1 and {len(train)}",
        )
    chosen = np.sort(np.random.default_rng(data.seed).permutation(len(train))[: data.n_train])
    messages.append(f"training: {data.n_train} of {len(train)} frames, drawn with seed {data.seed}")
    return tuple(train[i] for i in chosen)


def load_start(options: ModelOptions) -> LoadedModel:
    """The model file behind the options."""
    from jmp_calc.zoo.names import resolve

    return resolve(options.model.removeprefix(SCRATCH))
