"""Errors of a model on labelled structures.

Example: ``evaluate("test.extxyz", model="run/best.safetensors").errors.forces_mae_mev_per_a``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from jmp_calc.errors import BadInputError
from jmp_calc.graph.policy import PolicyName
from jmp_calc.inference.opened import OpenedModel, loaded_model, opened_model
from jmp_calc.inference.settings import (
    Elements,
    Settings,
    portable,
)
from jmp_calc.io.chemiscope import FILE, require_chemiscope
from jmp_calc.io.progress import Say, silent
from jmp_calc.io.schema import first_five
from jmp_calc.io.summary import plain, write_text_atomic
from jmp_calc.workflows.common import output_path

from .audit.labels import refuse_not_finite
from .batches.dataset import FrameGraphs
from .batches.loader import Batches
from .batches.order import Fixed
from .combined import combined
from .config import ForcesMode, TrainConfig
from .data.frame import Frame, LabelledSet
from .data.keys import UNKNOWN_KEY, LabelKeys
from .data.label_units import LabelUnits, StressSign
from .data.labels import read_labelled
from .data.sources import Labelled, read_each, sources
from .targets.classes import with_numbers
from .targets.compared import Compared, check_elements, compared_with, for_frames
from .targets.fit import with_target
from .validation.confusion import confusion, confusion_dict, confusion_text
from .validation.metrics import Errors, Predictions
from .validation.plots import plot_confusion, plot_parity
from .validation.predictions import write_predictions
from .validation.validate import validate
from .validation.view import write_view

if TYPE_CHECKING:
    pass

OUTPUTS = ("predictions.extxyz", "errors.yaml", "parity.svg", "confusion.svg")
MAX_EDGES = 40_000


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Errors in total and by group, and the predictions behind them."""

    errors: Errors
    """Of all frames."""
    by_group: dict[str, Errors]
    """By config_type or formula."""
    energy_offset_mev_per_atom: float | None
    """Mean of (predicted - true) energy per atom: large when model and data have different energy zeros."""
    head: str
    """Name of the head that was evaluated."""
    predictions: Predictions
    """Beside the labels, in the order of the frames."""
    frames: tuple[Frame, ...]
    """That have something to compare with."""
    messages: tuple[str, ...]
    """What the user should know about the labels."""
    target: str | None = None
    """Name of the scalar, class or vector that was compared; None: energies, forces and stresses."""
    classes: tuple[str, ...] = ()
    """Names of the classes, if the target is one."""

    def __repr__(self) -> str:
        return f"EvaluationResult({len(self.frames)} frames, head {self.head}: {self.errors})"

    @property
    def confusion(self) -> np.ndarray:
        """(K, K) number of structures by true (row) and predicted class."""
        return confusion(self.predictions, self.classes)

    def lines(self) -> list[str]:
        """Errors by group and of all frames, for people."""
        groups = self.by_group if len(self.by_group) > 1 else {}  # a single one is all
        width = max(len(name) for name in ("all", *groups))
        rows = {**groups, "all": self.errors}
        lines = [f"{name:{width}s}  {errors.n_structures:6d}  {errors}" for name, errors in rows.items()]
        return [*lines, confusion_text(self.confusion, self.classes)] if self.classes else lines

    def to_dict(self) -> dict[str, Any]:
        """Errors as plain numbers."""
        return {
            "head": self.head,
            "n_structures": len(self.frames),
            "errors": self.errors.to_dict(),
            "energy_offset_mev_per_atom": self.energy_offset_mev_per_atom,
            **({"confusion": confusion_dict(self.confusion, self.classes)} if self.classes else {}),
            "by_group": {name: value.to_dict() for name, value in self.by_group.items()},
            "messages": list(self.messages),
        }

    def write(self, folder: str | Path, *, prefix: str = "") -> tuple[Path, ...]:
        """Write predictions.extxyz, errors.yaml and parity.svg (of classes confusion.svg), each with PREFIX-
        before its name; returns their paths."""
        import yaml

        paths = [output_path(folder, name, prefix) for name in OUTPUTS]
        write_predictions(paths[0], self.frames, self.predictions, self.target, self.classes)
        text = yaml.safe_dump(plain(self.to_dict()), sort_keys=False, allow_unicode=True)
        write_text_atomic(paths[1], text)
        plot_parity(paths[2], {"": self.predictions}, self.target or "")
        plot_confusion(paths[3], {"": self.confusion} if self.classes else {}, self.classes)
        return tuple(path for path in paths if path.exists())

    def write_chemiscope(self, folder: str | Path, *, prefix: str = "") -> Path:
        """Write chemiscope.json.gz: structures with labels, predictions and errors, also of each atom.

        Raises:
            UsageError: chemiscope is not installed.
        """
        require_chemiscope()
        path = output_path(folder, FILE, prefix)
        write_view(path, self.frames, self.predictions, self.target, self.classes)
        return path


def evaluate(
    data: Labelled,
    *,
    model: str | Path = "jmp-xs",
    head: str | None = Settings.head,
    forces: Literal["conservative", "direct"] = Settings.forces,
    graph: PolicyName | None = Settings.graph,
    weights: Literal["ema", "raw", "official-ft"] = Settings.weights,
    elements: Elements = Settings.elements,
    target: str | None = None,
    energy_key: str | None = LabelKeys.energy,
    forces_key: str | None = LabelKeys.forces,
    stress_key: str | None = LabelKeys.stress,
    virials_key: str | None = LabelKeys.virials,
    keys: LabelKeys | None = None,
    index: str = ":",
    allow_truncated: bool = False,
    energy_unit: str | None = None,
    length_unit: str | None = None,
    forces_unit: str | None = None,
    stress_unit: str | None = None,
    stress_sign: StressSign | None = None,
    group_by: Literal["config_type", "formula"] = "config_type",
    device: str = Settings.device,
    dtype: str = Settings.dtype,
    max_edges: int = MAX_EDGES,
    say: Say = silent,
) -> EvaluationResult:
    """Compare predictions with labels; labels that are missing do not count.

    A prediction that is not finite makes the error NaN, and a message says so.

    Args:
        data: labelled frames: a file in any format that ASE reads, packed or not; a folder; a pattern;
            several of them; or a list of ase.Atoms with their labels in ``calc``, ``info`` or ``arrays``.
        model: name (jmp-xs, jmp-s, jmp-l), or path of a .safetensors file of ours or of an official .pt file.
            Default: "jmp-xs".
        head: output of the model, by name; the file's default head if none is given. Default: None.
        forces: conservative (slope of the energy) or direct (the head's own output). Default: "conservative".
        graph: graph policy, official or smooth; the file's if none is given. Default: None.
        weights: which weights of an official checkpoint: ema (averaged), raw or official-ft. Default: "ema".
        elements: elements that are accepted: "trained", those that the head was trained on, or "any", with a
            warning: to compare with other code, for what it gives there is arbitrary. Default: "trained".
        target: key of the labels of a head of scalars, classes or vectors; as in its training data if none is
            given. Default: None.
        energy_key: name of the energy in the data; found automatically if none is given. Default: None.
        forces_key: name of the forces. Default: None.
        stress_key: name of the stress (ASE's sign). Default: None.
        virials_key: name of the virials (stress = -virials / volume). Default: None.
        keys: these four names as one object. Default: None.
        index: frames of every file, as a slice. Default: ":".
        allow_truncated: drop an incomplete last frame. Default: False.
        energy_unit: unit of energies that are not in eV: hartree, kcal/mol, ... Default: None.
        length_unit: unit of lengths that are not in Å: bohr, nm. Default: None.
        forces_unit: unit of forces, such as hartree/bohr. Default: None.
        stress_unit: unit of stresses, such as GPa or kbar. Default: None.
        stress_sign: what is positive: tension as in ASE, or pressure as VASP prints it. Default: None.
        group_by: errors by config_type or by formula. Default: "config_type".
        device: where the network runs: auto (CUDA if there is one), cpu, cuda or cuda:N. Default: "auto".
        dtype: precision of the network, float32 or float64. Default: "float32".
        max_edges: most edges of a batch. Default: 40000.
        say: receives messages. Default: silent.

    Returns:
        errors in total and by group, and the predictions; ``write`` makes files of them.

    Raises:
        BadInputError: data that cannot be read, a label that is not finite, or nothing to compare with.
        ModelError: no such model or head, or a head that does not know an element.
        UsageError: a setting that is none of its choices, or two that contradict each other.
    """
    settings = Settings(
        model=portable(model),
        head=head,
        device=device,
        dtype=dtype,
        forces=forces,
        weights=weights,
        graph=graph,
        elements=elements,
    )
    read = reader(
        energy_key=energy_key,
        forces_key=forces_key,
        stress_key=stress_key,
        virials_key=virials_key,
        keys=keys or LabelKeys(),
        index=index,
        allow_truncated=allow_truncated,
        energy_unit=energy_unit,
        length_unit=length_unit,
        forces_unit=forces_unit,
        stress_unit=stress_unit,
        stress_sign=stress_sign,
    )
    loaded = loaded_model(settings)
    compared = compared_with(loaded.potential.config, settings, target)
    opened = opened_model(loaded, settings, compared.gives)
    found = labelled(data, compared, read)
    for message in found.messages:
        say(message)
    compared = for_frames(compared, opened.config, settings, found.frames, say)
    check_elements(opened.config, compared.head, found.frames, settings)
    predictions = predicted(opened, compared, found.frames, settings.forces, max_edges)
    messages = (*found.messages, *(failures := _failures(found.frames, predictions)))
    for message in failures:
        say(message)
    return EvaluationResult(
        predictions.errors(),
        predictions.errors_by_group([_group(frame, group_by) for frame in found.frames]),
        _offset(predictions),
        compared.head.name,
        predictions,
        found.frames,
        messages,
        compared.task.target,
        compared.classes,
    )


def reader(
    *,
    energy_key: str | None,
    forces_key: str | None,
    stress_key: str | None,
    virials_key: str | None,
    keys: LabelKeys = LabelKeys(),
    index: str,
    allow_truncated: bool,
    energy_unit: str | None,
    length_unit: str | None,
    forces_unit: str | None,
    stress_unit: str | None,
    stress_sign: StressSign | None,
) -> Callable[..., LabelledSet]:
    """``read_labelled`` with these options of ``evaluate``."""
    named = {"energy": energy_key, "forces": forces_key, "stress": stress_key, "virials": virials_key}
    return partial(
        read_labelled,
        keys=combined(keys, named, "keys"),
        index=index,
        allow_truncated=allow_truncated,
        units=LabelUnits(
            energy=energy_unit,
            length=length_unit,
            forces=forces_unit,
            stress=stress_unit,
            stress_sign=stress_sign or "tension",
        ),
    )


def _key_hint(messages: Sequence[str]) -> str:
    """How to name keys, with those that the files have."""
    proposed = "; ".join(message.rstrip(".") for message in messages if UNKNOWN_KEY in message)
    return f"name the keys with --energy-key, --forces-key, --stress-key{proposed and f' ({proposed})'}"


def labelled(data: Labelled, compared: Compared, read: Callable[..., LabelledSet]) -> LabelledSet:
    """The frames that have what a head is compared with; ``read``: ``read_labelled`` with its options.

    BadInputError if no frame has it, or a label is not finite.
    """
    task, given = compared.task, sources(data)
    found = read_each(given, partial(read, require=(), target=task.target, target_kind=task.target_kind))
    frames, messages = found.frames, found.messages
    if task.target is not None:
        frames = with_target(frames, task.target)
    refuse_not_finite(frames)
    if task.target is not None and compared.classes:
        frames = with_numbers(frames, task.target, compared.classes, "The head was not trained on others.")
    labels = [label for frame in frames for label in (frame.energy, frame.forces, frame.stress)]
    if not frames or (task.target is None and all(label is None for label in labels)):
        raise BadInputError(
            "There is nothing to compare with: no frame has "
            f"{'an energy, forces or a stress' if task.target is None else f'a finite {task.target!r}'}.",
            where=given.where,
            hint=_key_hint(found.messages) if task.target is None else "name the key with --target",
        )
    if len(frames) < len(found.frames):
        left_out = len(found.frames) - len(frames)
        text = f"{left_out} of {len(found.frames)} frames have no finite {task.target!r} and do not count."
        messages = (*messages, text)
    return replace(found, frames=frames, messages=messages)


def predicted(
    opened: OpenedModel, compared: Compared, frames: Sequence[Frame], forces: ForcesMode, max_edges: int
) -> Predictions:
    """What the head gives for the frames, beside their labels."""
    graphs = FrameGraphs(frames, opened.policy, compared.task, qint_tags=opened.config.backbone.qint_tags)
    order = Fixed(graphs.sizes, max_edges=max_edges, max_structures=64)
    config = TrainConfig(forces=forces)
    if compared.task.target is not None:
        config = config.for_target(compared.task.target_kind)
    batches = Batches(graphs, order, device=opened.device)
    return validate(opened.potential, batches, config.loss, config.forces)[1]


def _failures(frames: Sequence[Frame], predictions: Predictions) -> tuple[str, ...]:
    """A message about predictions that are not finite, if there are any."""
    failed = [frame.where for frame, bad in zip(frames, predictions.not_finite) if bad]
    text = f"The predictions for {len(failed)} of {len(frames)} frames are not finite: {first_five(failed)}."
    return (text,) if failed else ()


def _offset(predictions: Predictions) -> float | None:
    """Mean of (predicted - true) energy, meV per atom."""
    difference = (predictions.energy - predictions.energy_true) / predictions.n_atoms
    known = difference[~np.isnan(predictions.energy_true)]
    return round(float(known.mean() * 1e3), 4) if len(known) else None


def _group(frame: Frame, group_by: str) -> str:
    if group_by == "config_type":
        return frame.group
    from ase.formula import Formula

    return str(Formula.from_list([_symbol(z) for z in frame.numbers]).format("metal"))


def _symbol(number: int) -> str:
    from jmp_calc.model.elements import symbol

    return symbol(number)
