"""The data of a fine-tuning before anything is computed: read, split, referenced and audited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jmp_calc.io.progress import Say

from .options import SCRATCH, DataOptions, ModelOptions

if TYPE_CHECKING:
    from jmp_calc.zoo.container import LoadedModel

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jmp_calc.errors import UsageError

from ..audit.audit import AuditReport, audit
from ..batches.replay import check_share
from ..config import TrainConfig
from ..data.frame import Frame, LabelledSet
from ..data.labels import read_labelled
from ..data.references import MODES, References, fit_references, load_references
from ..data.split import every_nth, split_frames
from ..targets.fit import FittedTarget, fit_target, with_target
from ..targets.options import TargetTask
from .earlier import EarlierSet, read_earlier, refuse_known
from .options import refuse_old_weights
from .recipe_frames import force_rms, read_recipe_frames

if TYPE_CHECKING:
    from jmp_calc.zoo.container import LoadedModel

    from ..audit.findings import Finding


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything that is known before training; what ``--dry-run`` shows."""

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


def prepare(data: DataOptions, start: ModelOptions, config: TrainConfig, say: Say) -> Prepared:
    """Read, split, audit and reference the data and find the start model; computes nothing expensive.

    Raises:
        UsageError: no frames to train on or to validate on.
    """
    began = time.monotonic()
    required = [label for label in ("energy", "forces") if label not in data.allow_missing]
    required = [label for label in required if getattr(config.loss, f"{label}_weight") > 0]
    target = data.target.key if data.target else None
    messages: list[str] = []

    def read(path: str | Path | None, index: str = ":", *, for_training: bool = False) -> LabelledSet | None:
        if path is None:
            return None
        found = read_labelled(
            path,
            keys=data.keys,
            index=index,
            allow_truncated=data.allow_truncated,
            require=required,
            units=data.units,
            target=target,
            target_kind=data.target.label_kind if data.target else None,
            other_states="not_neutral" in data.allow,
        )
        messages.extend(f"{Path(path).name}: {message}" for message in found.messages)
        if found.isolated and not for_training:
            messages.append(
                f"{Path(path).name}: its isolated atoms are not used: references come from the training "
                "file, or "
                "from this one with --E0s FILE"
            )
        frames = _chosen(found.frames, data.groups, path)
        return dataclasses.replace(found, frames=_with_target(frames, data.target, messages))

    _check_earlier(data, start)
    refuse_old_weights(start, config)
    loaded = load_start(start)
    given = read(data.train, data.index, for_training=True)
    assert given is not None
    if data.target is not None:  # the other files are read as this one
        data = dataclasses.replace(
            data, target=dataclasses.replace(data.target, kind=data.target.kind or given.target_kind)
        )
    valid_set, test_set = read(data.valid), read(data.test)
    train, valid = given.frames, valid_set.frames if valid_set else ()
    if valid_set is None:
        split = (
            every_nth(train, data.valid_every)
            if data.valid_every is not None
            else split_frames(train, data.valid_fraction, data.seed)
        )
        train, valid = split
        how = (
            f"every {data.valid_every}th frame"
            if data.valid_every is not None
            else "contiguous blocks of every group"
        )
        messages.append(f"validation: {len(valid)} of {len(given.frames)} training frames, {how}")
    if not train or not valid:
        raise UsageError(
            f"There are {len(train)} frames to train on and {len(valid)} to validate on.",
            where=str(data.train),
            hint="give more frames, or a file with --valid",
        )
    test = test_set.frames if test_set else ()
    _refuse_nothing(train, data, config)
    return _examined(train, valid, test, given.isolated, data, loaded, required, messages, began, say)


def prepare_recipe(
    data: DataOptions, start: ModelOptions, override: Callable[[TrainConfig], TrainConfig], say: Say
) -> tuple[Prepared, DataOptions, TrainConfig]:
    """The same for the data set of ``data.recipe``; also ``data`` with the file that was found, and the
    settings.

    ``override`` changes the settings of the recipe where the user wants others.
    """
    began, recipe = time.monotonic(), data.recipe
    assert recipe is not None
    _check_earlier(data, start)
    loaded = load_start(start)
    found = read_recipe_frames(
        recipe, Path(data.train), split=data.split, test_frames=data.test_frames, on_bad=data.on_bad
    )
    blocks = loaded.potential.config.backbone.num_blocks
    task = recipe.target_task
    config = override(recipe.train_config(blocks, force_rms(found.train) if task is None else 1.0))
    config = config if task is None else config.for_target()
    refuse_old_weights(start, config)
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
    required = [label for label in ("energy", "forces") if getattr(config.loss, f"{label}_weight") > 0]
    prepared = _examined(train, valid, test, {}, data, loaded, required, messages, began, say)
    return prepared, data, config


def _examined(
    train: tuple[Frame, ...],
    valid: tuple[Frame, ...],
    test: tuple[Frame, ...],
    isolated: dict[int, float],
    data: DataOptions,
    loaded: LoadedModel,
    required: list[str],
    messages: list[str],
    began: float,
    say: Say,
) -> Prepared:
    """Subset, references or statistics of the target, and audit of the frames that were read; and the earlier
    data."""
    references = target = None
    train = _few(train, data, messages)
    if data.target is not None:
        target = fit_target(train, data.target)
        messages.append(target.message)
        train, valid, test = (target.encoded(frames) for frames in (train, valid, test))
    if any(frame.energy is not None for frame in train):
        references = fit_references(train, isolated, _reference_mode(data))
        messages.extend(references.messages)
    report = audit(
        train,
        valid,
        test,
        require=required,
        allow=data.allow,
        target=data.target.key if data.target and data.target.kind != "vector" else None,
    )
    retained, replayed = (
        tuple(read_earlier(text, keys=data.keys, units=data.units) for text in texts)
        for texts in (data.retain, data.replay)
    )
    refuse_known(retained, [*train, *(frame for item in replayed for frame in item.frames)])
    units = data.units.named
    for use, sets in (("retained", retained), ("replayed", replayed)):
        for item in sets:
            messages.append(
                f"{item.name}: {len(item.frames)} frames are {use}"
                f"{f', converted from {units} as the training frames' if units else ''}"
            )
            messages.extend(f"{item.name}: {message}" for message in item.messages)
    for message in [*messages, *(str_finding(finding) for finding in report.findings)]:
        say(message)
    return Prepared(
        train, valid, test, references, target, report, loaded, tuple(messages), began, retained, replayed
    )


def _refuse_nothing(train: tuple[Frame, ...], data: DataOptions, config: TrainConfig) -> None:
    """UsageError if no training frame (of the stress alone: not every one) has what the loss counts: no
    gradient then."""
    weights = {label: getattr(config.loss, f"{label}_weight") for label in ("energy", "forces", "stress")}
    counting = [label for label, weight in weights.items() if weight > 0]
    without = sum(all(getattr(frame, label) is None for label in counting) for frame in train)
    if data.target is None and without > (0 if counting == ["stress"] else len(train) - 1):
        raise UsageError(
            f"{without} of {len(train)} training frames lack all that the loss counts: "
            f"{', '.join(counting)}.",
            where=str(data.train),
            hint="raise the weight of a label that the file has (--forces-weight)",
        )


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


def _chosen(frames: tuple[Frame, ...], groups: Sequence[str], path: str | Path) -> tuple[Frame, ...]:
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
            where=str(path),
            hint=f"groups and elements of the file: {', '.join(known[:20])}",
        )
    return kept


def _check_earlier(data: DataOptions, start: ModelOptions) -> None:
    """UsageError for retained or replayed data that the run has no use for."""
    if start.from_scratch and (data.retain or data.replay):
        raise UsageError(
            "A network from scratch knows no earlier data.", hint="leave out --retain and --replay"
        )
    if data.replay:
        check_share(data.replay_share)
        if data.target or (data.recipe and data.recipe.target_task):
            raise UsageError(
                "Earlier energies and forces cannot be replayed in a run on a target.",
                hint="leave out --replay",
            )


def _few(train: tuple[Frame, ...], data: DataOptions, messages: list[str]) -> tuple[Frame, ...]:
    """The random subset that was asked for, in file order; the same frames and seed give the same one."""
    if data.n_train is None:
        return train
    if not 0 < data.n_train <= len(train):
        raise UsageError(
            f"{data.n_train} of {len(train)} training frames were asked for.",
            where=str(data.train),
            hint=f"--n-train between 1 and {len(train)}",
        )
    chosen = np.sort(np.random.default_rng(data.seed).permutation(len(train))[: data.n_train])
    messages.append(f"training: {data.n_train} of {len(train)} frames, drawn with seed {data.seed}")
    return tuple(train[i] for i in chosen)


def load_start(options: ModelOptions) -> LoadedModel:
    """The model file behind the options."""
    from jmp_calc.zoo.names import resolve

    return resolve(options.model.removeprefix(SCRATCH))
