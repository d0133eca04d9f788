"""Fine-tuning: from a labelled file to a model, with an audit before and a report after.

Example: ``finetune("train.extxyz", model="jmp-xs", out="run")`` writes ``run/best.safetensors``; then
``atoms.calc = JMPCalculator("run/best.safetensors")``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jmp_calc.errors import UsageError
from jmp_calc.io.atomic import remove_partial
from jmp_calc.io.outdir import check_free, locked, make_folder, remove_old
from jmp_calc.model.config import model_config_from_dict, to_dict

from .audit import AuditReport, audit
from .batches import Batches
from .binding import with_fitted_energies
from .checkpoint import Checkpoint, Progress, load_checkpoint, refuse_changes
from .config import TrainConfig, config_to_dict
from .dataset import FrameGraphs
from .datasets.checks import OnBad
from .distributed import DistributedConfig, started
from .finetune_recipes import FinetuneRecipe, finetune_recipe
from .labels import Frame, LabelKeys, LabelledSet, read_labelled
from .loggers import LoggerName, open_loggers, require_installed
from .loop import fit
from .metrics import Errors, Predictions
from .order import Fixed, Order, Shuffled
from .recipe_data import force_rms, read_recipe_frames
from .references import References, fit_references
from .run_state import STATE_FILE, Job, total_steps
from .runfolder import RunLog, has_state, silent
from .scalars import FittedScalar, ScalarTask, fit_scalar, with_target
from .split import every_nth, split_frames
from .start import ModelOptions, Start, load_start, make_start
from .tasks import Task
from .validation import validate
from .world import World

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential
    from jmp_calc.zoo.container import LoadedModel

    from .history import Row
    from .plausibility import Finding

Say = Callable[[str], None]
OUTPUTS = ("best.safetensors", "last.safetensors", "report.yaml", "metrics.csv", "config.yaml", "data-report.yaml",
           "predictions-valid.extxyz", "predictions-test.extxyz", "parity.svg", "loss.svg", STATE_FILE)


@dataclass(frozen=True)
class DataOptions:
    """Which frames are used for what, and how their labels are read."""

    train: str | Path
    valid: str | Path | None = None
    test: str | Path | None = None
    keys: LabelKeys = field(default_factory=LabelKeys)
    index: str = ":"
    """Frames of the training file, as a slice."""
    valid_fraction: float = 0.1
    """Share of the training file used for validation when there is no file for it."""
    valid_every: int | None = None
    """Every n-th frame for validation instead of contiguous blocks (for files without trajectories)."""
    references: str | Path | dict[str, float] = "auto"
    """auto, isolated, lstsq, a YAML file, or energies by symbol (eV)."""
    allow_missing: tuple[str, ...] = ()
    """Labels that some or all frames may lack; they are masked."""
    allow_truncated: bool = False
    allow: tuple[str, ...] = ()
    """Codes of audit findings that are accepted, such as ``duplicates``."""
    energy_unit: str | None = None
    length_unit: str | None = None
    groups: tuple[str, ...] = ()
    """Only frames with one of these config_types or formulas; empty: all."""
    scalar: ScalarTask | None = None
    """A scalar to train on instead of energies, forces and stresses."""
    recipe: FinetuneRecipe | None = None
    """Data set and split of a published task; ``train`` is then the folder (or file) of the data set."""
    split: str | None = None
    """Another split of the data set than the recipe's."""
    test_frames: int | None = None
    """Size of a random subset of the recipe's test frames; None: all."""
    on_bad: OnBad = "fail"
    """Whether a bad frame of the recipe's data set is an error or left out and counted."""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything that is known before training; what ``--dry-run`` shows."""

    train: tuple[Frame, ...]
    valid: tuple[Frame, ...]
    test: tuple[Frame, ...]
    references: References | None
    scalar: FittedScalar | None
    """Statistics of the scalar over the training frames; None for energies."""
    audit: AuditReport
    loaded: LoadedModel
    messages: tuple[str, ...]
    began: float
    """time.monotonic() at the start; the time budget counts from here."""


@dataclass(frozen=True)
class TrainResult:
    """What a fine-tuning gave; errors are those of the best model, unless they say otherwise."""

    best: Path
    last: Path
    out: Path
    before: Errors
    """Validation errors before training."""
    valid: Errors
    test: Errors | None
    test_before: Errors | None
    valid_by_group: dict[str, Errors]
    test_by_group: dict[str, Errors]
    history: tuple[Row, ...]
    n_steps: int
    n_epochs: int
    train_s: float
    """Seconds of the time budget that were used, over all restarts."""
    init_head: str | None
    probe: dict[str, float]
    valid_last: Errors
    """Validation errors of ``last``."""
    valid_last_raw: Errors | None
    """The same at the same step without averaging over steps; None if ``last`` is not averaged."""
    n_clipped: int
    """Steps whose gradient was scaled down."""
    constant_mae: dict[str, float] = field(default_factory=dict)
    """Of a scalar, by set: mean absolute error of always predicting the mean of the training frames."""
    messages: tuple[str, ...] = ()
    outputs: tuple[Path, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Plain dict without the history."""
        def errors(value: Errors | None) -> dict[str, Any] | None:
            return None if value is None else value.to_dict()

        constant = {name: float(f"{value:.5g}") for name, value in self.constant_mae.items()}
        return {
            "best": str(self.best), "last": str(self.last), "n_steps": self.n_steps, "n_epochs": self.n_epochs,
            "n_clipped_steps": self.n_clipped, "train_s": round(self.train_s, 1),
            "valid_before": errors(self.before), "valid": errors(self.valid), "valid_last": errors(self.valid_last),
            **({} if self.valid_last_raw is None else {"valid_last_not_averaged": errors(self.valid_last_raw)}),
            "test_before": errors(self.test_before), "test": errors(self.test),
            "valid_by_group": {name: errors(value) for name, value in self.valid_by_group.items()},
            "test_by_group": {name: errors(value) for name, value in self.test_by_group.items()},
            **({"constant_predictor_mae": constant} if constant else {}),
            "init_head": self.init_head or "new weights",
        }


def finetune(
    train: str | Path,
    *,
    valid: str | Path | None = None,
    test: str | Path | None = None,
    model: str = "jmp-xs",
    out: str | Path = "run",
    head: str = "finetuned",
    target: str | None = None,
    config: TrainConfig | None = None,
    data: DataOptions | None = None,
    start: ModelOptions | None = None,
    recipe: str | None = None,
    device: str = "auto",
    resume: bool = False,
    override: bool = False,
    overwrite: bool = False,
    loggers: Sequence[LoggerName] = (),
    distributed: DistributedConfig = DistributedConfig(),
    say: Say = print,
) -> TrainResult:
    """Fine-tune a model on labelled structures (any format that ASE reads, packed or not).

    Args:
        train: labelled frames; without ``valid``, a share of them is set aside in blocks.
        valid: frames to choose the best model by.
        test: frames that are evaluated once, at the end.
        model: name or path of the start model; ``scratch:NAME`` uses its architecture only.
        out: folder for the results; refused if it holds earlier ones, unless ``overwrite`` or ``resume``.
        head: name of the new head.
        target: key in ``info`` of a scalar to train on instead of energies and forces (``data.scalar`` says more about it).
        config: loss, optimizer, length; None: the defaults.
        data: label keys, split, references (its files are replaced by ``train``, ``valid``, ``test``).
        start: further choices about the start model (its model and head are replaced).
        recipe: name of a published task (``rmd17-aspirin``); ``train`` is then the folder of its data set, and ``config``
            replaces the settings of the recipe if it is given.
        device: auto, cpu, cuda, cuda:N.
        resume: go on with the run in ``out`` (from the start, if it was killed before its first saved state).
        override: resume although settings or data have changed.
        overwrite: replace earlier results.
        loggers: ``tensorboard``, ``wandb``: receive the rows of metrics.csv too.
        distributed: processes that share the run; all return the same result.
        say: receives lines of progress.
    """
    data = dataclasses.replace(data or DataOptions(train), train=train, valid=valid, test=test)
    if target is not None:
        data = dataclasses.replace(data, scalar=dataclasses.replace(data.scalar or ScalarTask(target), target=target))
    start = dataclasses.replace(start or ModelOptions(), model=model, head=head)
    if recipe is not None:
        data = dataclasses.replace(data, recipe=finetune_recipe(recipe))
        start = start.for_recipe(finetune_recipe(recipe))
    require_installed(loggers)
    folder = Path(out)
    with started(distributed, device) as world, ExitStack() as stack:
        log = silent
        if world.is_first:
            stack.enter_context(locked(make_folder(folder)))
            remove_partial(folder, OUTPUTS)
            if overwrite and not resume:
                remove_old(folder, OUTPUTS)
            elif not resume:
                check_free(folder, OUTPUTS, resume_hint="--resume goes on with it")
            resume = resume and has_state(folder, say)
            log = stack.enter_context(RunLog(folder, say, resumed=resume))
        resume = world.from_first(resume)
        if recipe is None:
            config = config or TrainConfig()
            config = config.for_scalar() if data.scalar else config
            prepared = prepare(data, start, config, log)
        else:
            prepared, data, config = prepare_recipe(data, start, lambda published: config or published, log)
        prepared.audit.raise_if_refused()
        return run(prepared, data, start, config, folder, device=device, resume=resume, override=override,
                   loggers=loggers, world=world, say=log)


def prepare(data: DataOptions, start: ModelOptions, config: TrainConfig, say: Say) -> Prepared:
    """Read, split, audit and reference the data and find the start model; computes nothing expensive."""
    began = time.monotonic()
    required = [label for label in ("energy", "forces") if label not in data.allow_missing]
    required = [label for label in required if getattr(config.loss, f"{label}_weight") > 0]
    target = data.scalar.target if data.scalar else None
    messages: list[str] = []

    def read(path: str | Path | None, index: str = ":") -> LabelledSet | None:
        if path is None:
            return None
        found = read_labelled(path, keys=data.keys, index=index, allow_truncated=data.allow_truncated,
                              require=required, energy_unit=data.energy_unit, length_unit=data.length_unit, target=target)
        messages.extend(f"{Path(path).name}: {message}" for message in found.messages)
        frames = _chosen(found.frames, data.groups, path)
        return dataclasses.replace(found, frames=_with_target(frames, data.scalar, messages))

    loaded = load_start(start)
    given = read(data.train, data.index)
    assert given is not None
    valid_set, test_set = read(data.valid), read(data.test)
    train, valid = given.frames, valid_set.frames if valid_set else ()
    if valid_set is None:
        split = (every_nth(train, data.valid_every) if data.valid_every
                 else split_frames(train, data.valid_fraction, data.seed))
        train, valid = split
        how = f"every {data.valid_every}th frame" if data.valid_every else "contiguous blocks of every group"
        messages.append(f"validation: {len(valid)} of {len(given.frames)} training frames, {how}")
    if not train or not valid:
        raise UsageError(f"There are {len(train)} frames to train on and {len(valid)} to validate on.",
                         where=str(data.train), hint="give more frames, or a file with --valid")
    test = test_set.frames if test_set else ()
    return _examined(train, valid, test, given.isolated, data, loaded, required, messages, began, say)


def prepare_recipe(
    data: DataOptions, start: ModelOptions, override: Callable[[TrainConfig], TrainConfig], say: Say
) -> tuple[Prepared, DataOptions, TrainConfig]:
    """The same for the data set of ``data.recipe``; also ``data`` with the file that was found, and the settings.

    ``override`` changes the settings of the recipe where the user wants others.
    """
    began, recipe = time.monotonic(), data.recipe
    assert recipe is not None
    loaded = load_start(start)
    found = read_recipe_frames(recipe, Path(data.train), split=data.split, test_frames=data.test_frames,
                               on_bad=data.on_bad)
    blocks = loaded.potential.config.backbone.num_blocks
    task = recipe.scalar_task
    config = override(recipe.train_config(blocks, force_rms(found.train) if task is None else 1.0))
    config = config if task is None else config.for_scalar()
    messages = list(found.messages)
    if recipe.layerwise and not config.optim.layer_rates:
        messages.append(f"the recipe has layer-wise learning rates for JMP-S and JMP-L only, none for {blocks} blocks: "
                        "one learning rate for all weights")
    # Properties of materials repeat structures across published folds, and leave rare elements to the test part.
    known = () if task is None else ("duplicates", "unseen_element")
    data = dataclasses.replace(data, train=found.path, scalar=task, allow=(*data.allow, *known))
    train, valid, test = (_with_target(frames, task, messages) for frames in (found.train, found.valid, found.test))
    required = [label for label in ("energy", "forces") if getattr(config.loss, f"{label}_weight") > 0]
    prepared = _examined(train, valid, test, {}, data, loaded, required, messages, began, say)
    return prepared, data, config


def _examined(
    train: tuple[Frame, ...], valid: tuple[Frame, ...], test: tuple[Frame, ...], isolated: dict[int, float],
    data: DataOptions, loaded: LoadedModel, required: list[str], messages: list[str], began: float, say: Say,
) -> Prepared:
    """References or statistics of the scalar, and audit, of the frames that were read."""
    references = scalar = None
    if data.scalar is not None:
        scalar = fit_scalar(train, data.scalar)
        messages.append(scalar.message)
    if any(frame.energy is not None for frame in train):
        references = fit_references(train, isolated, data.references)
        messages.extend(references.messages)
    report = audit(train, valid, test, require=required, allow=data.allow,
                   target=data.scalar.target if data.scalar else None)
    for message in [*messages, *(str_finding(finding) for finding in report.findings)]:
        say(message)
    return Prepared(train, valid, test, references, scalar, report, loaded, tuple(messages), began)


def run(
    prepared: Prepared, data: DataOptions, start: ModelOptions, config: TrainConfig, folder: Path, *,
    device: str, resume: bool, override: bool, loggers: Sequence[LoggerName] = (), world: World = World(), say: Say,
) -> TrainResult:
    """Train, choose the best model, evaluate, and write everything into ``folder`` (locked by the caller).

    Called by all processes of ``world``, which see the same folder; the first one writes.
    """
    from jmp_calc.device import choose_device

    from .report import Card, saved_weights, write_report, write_settings

    where = world.device or choose_device(device)
    begun = make_start(
        prepared.loaded, start, prepared.train, prepared.references,
        direct_forces=config.forces == "direct", device=where, seed=config.seed, max_edges=config.max_edges_per_batch,
        scalar=prepared.scalar,
    )
    for message in begun.messages:
        say(message)
    config = resolved(config, begun.potential, prepared)
    facts = {**fingerprint(prepared), "start": origin(prepared, start)}
    potential = begun.potential
    if resume:
        state = load_checkpoint(folder / STATE_FILE)
        if not override:
            refuse_changes(state, config_to_dict(config), facts, folder / STATE_FILE)
        # The state names its own network, so that a start model that has changed since cannot slip in.
        potential = _rebuilt(state, potential)
    test_before = None
    sets = {name: _batches(getattr(prepared, name), potential, begun, config, where, world, shuffle=name == "train")
            for name in ("train", "valid", "test")}
    card = Card(prepared, begun, data, config)
    if world.is_first:
        write_settings(folder, data, start, config, prepared)
    if prepared.test and not resume:
        test_before = validate(potential, sets["test"], config.loss, config.forces, world)[1].errors()
        say(f"test, before training: {test_before}")

    def save(name: str, progress: Progress) -> None:
        written = potential
        if config.loss.energy_weight == 0:
            # Forces leave the constant of the energy open: it is fitted to the energies of the training frames.
            written = with_fitted_energies(potential, begun.head.name, prepared.train, where)
        card.write(folder / f"{name}.safetensors", written, saved_weights(name, progress.step, config))

    steps = total_steps(sets["train"], config)
    say(f"training: {len(prepared.train)} structures, {sets['train'].n_steps(0)} batches per epoch, "
        f"{steps or 'as many as fit'} steps, peak learning rate {config.optim.lr:.2g}, "
        f"{sum(p.numel() for p in potential.parameters()):,} weights, {where}")
    job = Job(potential, sets["train"], sets["valid"], folder, to_dict(potential.config), facts, save,
              say, time.monotonic() - prepared.began, world=world)
    done = state.progress.validated_at if resume else None
    with open_loggers(loggers if world.is_first else (), folder, config_to_dict(config), done) as opened:
        history = fit(dataclasses.replace(job, loggers=opened), config, resume=resume, override=override)
    state = load_checkpoint(folder / STATE_FILE)
    progress = state.progress

    from jmp_calc.zoo.container import load_model

    best = load_model(folder / "best.safetensors").potential.to(where)
    found: dict[str, Predictions] = {
        name: validate(best, sets[name], config.loss, config.forces, world)[1]
        for name in ("valid", "test") if getattr(prepared, name)
    }
    groups = {name: [frame.group for frame in getattr(prepared, name)] for name in found}
    raw = None
    if config.optim.ema_decay is not None:
        potential.load_state_dict(state.weights)
        raw = validate(potential, sets["valid"], config.loss, config.forces, world)[1].errors()
    history.rows = world.from_first(history.rows)
    before, last = (_errors_of(history.rows, i, len(prepared.valid)) for i in (0, -1))
    constant = {} if prepared.scalar is None else {
        name: prepared.scalar.constant_mae(getattr(prepared, name)) for name in found}
    result = TrainResult(
        best=folder / "best.safetensors", last=folder / "last.safetensors", out=folder, before=before,
        valid=found["valid"].errors(), test=found["test"].errors() if "test" in found else None,
        test_before=test_before, valid_by_group=found["valid"].errors_by_group(groups["valid"]),
        test_by_group=found["test"].errors_by_group(groups["test"]) if "test" in found else {},
        history=tuple(history.rows), n_steps=progress.step, n_epochs=progress.epoch, train_s=progress.elapsed,
        valid_last=last, valid_last_raw=raw, n_clipped=progress.n_clipped,
        init_head=begun.init_head, probe=begun.probe, constant_mae=constant, messages=prepared.messages + begun.messages,
    )
    best_step = max((row.step for row in history.rows if row.best), default=progress.step)
    outputs: list[Path] = []
    if world.is_first:
        card.write(result.best, best, saved_weights("best", best_step, config), result)
        outputs = write_report(folder, result, prepared, found)
    for name, values in found.items():
        note = f"; constant predictor: MAE {constant[name]:.4g}" if constant else ""
        say(f"{name}: {values.errors()}{note}")
    if progress.n_clipped > 0:
        say(f"gradients were clipped in {progress.n_clipped} of {progress.step} steps")
    return dataclasses.replace(result, outputs=world.from_first(tuple(outputs)))


def str_finding(finding: Finding) -> str:
    """One line: how bad, where, what, and what to do."""
    where = f" [{finding.where}]" if finding.where else ""
    return f"audit {finding.severity} {finding.code}: {finding.message}{where} {finding.hint}".rstrip()


def resolved(config: TrainConfig, potential: Potential, prepared: Prepared) -> TrainConfig:
    """The settings with learning rate (by size of the network), batch size (by number of training structures) and unit of
    the scalar's error."""
    if config.batch_size is None:
        config = dataclasses.replace(config, batch_size=min(max(4, math.ceil(len(prepared.train) / 500)), 32))
    if prepared.scalar is not None and config.loss.scalar_unit is None:
        config = dataclasses.replace(config, loss=dataclasses.replace(config.loss, scalar_unit=prepared.scalar.scale))
    if config.optim.lr is not None:
        return config
    n_weights = sum(p.numel() for p in potential.parameters())
    # 8e-5 for JMP-L with 1.6e8 weights (Shoghi et al. 2023) and 1e-3 for 1e6 weights lie on this line.
    lr = float(f"{min(1e-3 * (1e6 / n_weights) ** 0.5, 2e-3):.2g}")
    return dataclasses.replace(config, optim=dataclasses.replace(config.optim, lr=lr))


def fingerprint(prepared: Prepared) -> dict[str, Any]:
    """Number of frames and hash of structures and labels of each set."""
    return {name: {"frames": len(getattr(prepared, name)), "sha256": _hash(getattr(prepared, name))}
            for name in ("train", "valid")}


def origin(prepared: Prepared, start: ModelOptions) -> dict[str, Any]:
    """What a resumed run must have in common with its beginning beside frames and settings: start model, head, references.

    Hash instead of name, so that a model may be moved; energies are rounded, because another machine adds them otherwise.
    """
    references = {} if prepared.references is None else prepared.references.values
    return {
        "sha256": prepared.loaded.sha256, "from_scratch": start.from_scratch, "head": start.head,
        "init_head": start.init_head, "keep_heads": start.keep_heads, "graph": start.graph, "dtype": start.dtype,
        "references": {str(z): round(energy, 4) for z, energy in sorted(references.items())},
    }


def _hash(frames: Sequence[Frame]) -> str:
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(repr((frame.energy, frame.pbc.tolist(), *sorted(frame.targets.items()))).encode())
        for array in (frame.numbers, frame.positions, frame.cell, frame.forces, frame.stress):
            digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _batches(
    frames: Sequence[Frame], potential: Potential, begun: Start, config: TrainConfig, device: Any, world: World, *,
    shuffle: bool,
) -> Batches:
    model = potential.config
    task = Task(begun.head.name, target=begun.head.target)
    graphs = FrameGraphs(
        frames, model.policy, task, qint_tags=model.backbone.qint_tags, edge_dropout=config.edge_dropout,
        dropout_seed=config.seed, dropout_compensation=config.edge_dropout_compensation,
    )
    # Evaluation needs no graph of the graph, so that more fits into a batch.
    assert config.batch_size is not None
    room, count = (1, config.batch_size) if shuffle else (2, 4 * config.batch_size)
    room *= config.max_edges_per_batch
    order: Order
    if shuffle:
        order = Shuffled(graphs.sizes, max_edges=room, max_structures=count, seed=config.seed, accumulate=config.accumulate)
    else:
        order = Fixed(graphs.sizes, max_edges=room, max_structures=count)
    return Batches(graphs, order, device=device, rank=world.rank, world_size=world.size)


def _rebuilt(state: Checkpoint, potential: Potential) -> Potential:
    from jmp_calc.model.potential import Potential

    rebuilt = Potential.from_state(model_config_from_dict(state.model_config), state.weights)
    return rebuilt.to(dtype=potential.dtype, device=potential.embedding.weight.device)


def _errors_of(rows: Sequence[Row], position: int, n_structures: int) -> Errors:
    """Errors in a row of the history; none if somebody took the file of a resumed run away."""
    if not rows:
        return Errors(n_structures)
    row = rows[position]
    return Errors(n_structures, energy_mae_mev_per_atom=row.valid_energy_mae_mev_per_atom,
                  forces_mae_mev_per_a=row.valid_forces_mae_mev_per_a, stress_mae_gpa=row.valid_stress_mae_gpa,
                  scalar_mae=row.valid_scalar_mae)


def _with_target(frames: tuple[Frame, ...], scalar: ScalarTask | None, messages: list[str]) -> tuple[Frame, ...]:
    """All frames, or those with a value of the scalar, with a message about the others."""
    if scalar is None:
        return frames
    kept = with_target(frames, scalar.target)
    if len(kept) < len(frames):
        messages.append(f"{len(frames) - len(kept)} of {len(frames)} frames have no finite {scalar.target!r} and are left out")
    return kept


def _chosen(frames: tuple[Frame, ...], groups: Sequence[str], path: str | Path) -> tuple[Frame, ...]:
    """Frames whose group, or set of elements written like ``Si`` or ``Cu-O``, was asked for."""
    if not groups:
        return frames
    from ase.data import chemical_symbols

    def elements(frame: Frame) -> str:
        return "-".join(sorted(chemical_symbols[z] for z in np.unique(frame.numbers)))

    kept = tuple(frame for frame in frames if frame.group in groups or elements(frame) in groups)
    if not kept:
        known = sorted({frame.group for frame in frames} | {elements(frame) for frame in frames})
        raise UsageError(f"No frame belongs to {', '.join(groups)}.", where=str(path),
                         hint=f"groups and elements of the file: {', '.join(known[:20])}")
    return kept


__all__ = ["OUTPUTS", "DataOptions", "Prepared", "TrainResult", "config_to_dict", "finetune", "prepare", "run"]
