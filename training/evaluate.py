"""Errors of a model on labelled structures.

Example: ``evaluate("test.extxyz", model="run/best.safetensors").errors.forces_mae_mev_per_a``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.graph.policy import PolicyName
from jmp_calc.inference.settings import Elements, output_of
from jmp_calc.io.schema import first_five
from jmp_calc.io.summary import plain, write_text_atomic

from .audit.labels import refuse_not_finite
from .batches.dataset import FrameGraphs
from .batches.loader import Batches
from .batches.order import Fixed
from .config import TrainConfig
from .data.frame import Frame
from .data.keys import LabelKeys
from .data.label_units import LabelUnits, StressSign
from .data.labels import read_labelled
from .data.target_labels import TargetKind
from .targets.classes import with_numbers
from .targets.fit import task_of_head, with_target
from .validation.confusion import confusion, confusion_dict
from .validation.metrics import Errors, Predictions
from .validation.plots import plot_confusion, plot_parity
from .validation.predictions import write_predictions
from .validation.validate import validate

if TYPE_CHECKING:
    from jmp_calc.inference.settings import Output, Settings
    from jmp_calc.model.config import HeadConfig, ModelConfig

OUTPUTS = ("predictions.extxyz", "errors.yaml", "parity.svg", "confusion.svg")
MAX_EDGES = 40_000


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Errors in total and by group, and the predictions behind them."""

    errors: Errors
    by_group: dict[str, Errors]
    energy_offset_mev_per_atom: float | None
    """Mean of (predicted - true) energy per atom: large when model and data have different energy zeros."""
    head: str
    predictions: Predictions
    frames: tuple[Frame, ...]
    messages: tuple[str, ...]
    target: str | None = None
    """Name of the scalar, class or vector that was compared; None: energies, forces and stresses."""
    classes: tuple[str, ...] = ()
    """Names of the classes, if the target is one."""

    @property
    def confusion(self) -> np.ndarray:
        """(K, K) number of structures by true (row) and predicted class."""
        return confusion(self.predictions, self.classes)

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

    def write(self, folder: str | Path) -> tuple[Path, ...]:
        """Write predictions.extxyz, errors.yaml and parity.svg (of classes confusion.svg); returns their
        paths."""
        import yaml

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_predictions(folder / OUTPUTS[0], self.frames, self.predictions, self.target, self.classes)
        text = yaml.safe_dump(plain(self.to_dict()), sort_keys=False, allow_unicode=True)
        write_text_atomic(folder / OUTPUTS[1], text)
        plot_parity(folder / OUTPUTS[2], {"": self.predictions}, self.target or "")
        plot_confusion(folder / OUTPUTS[3], {"": self.confusion} if self.classes else {}, self.classes)
        return tuple(folder / name for name in OUTPUTS if (folder / name).exists())


def evaluate(
    data: str | Path,
    *,
    model: str | Path = "jmp-xs",
    head: str | None = None,
    forces: Literal["conservative", "direct"] = "conservative",
    graph: PolicyName | None = None,
    weights: Literal["ema", "raw", "official-ft"] = "ema",
    elements: Elements = "trained",
    keys: LabelKeys | None = None,
    target: str | None = None,
    index: str = ":",
    allow_truncated: bool = False,
    energy_unit: str | None = None,
    length_unit: str | None = None,
    forces_unit: str | None = None,
    stress_unit: str | None = None,
    stress_sign: StressSign = "tension",
    group_by: str = "config_type",
    device: str = "auto",
    dtype: str = "float32",
    max_edges: int = MAX_EDGES,
    say: Callable[[str], None] = lambda text: None,
) -> EvaluationResult:
    """Compare predictions with the labels of a file; labels that are missing do not count.

    A label that is not finite is a BadInputError; a prediction that is not makes the error NaN, and a message
    says so.

    Args:
        data: labelled structures (any format that ASE reads, packed or not).
        model: name, path of one of our files, or official checkpoint.
        head: head of the model; None: its default.
        forces: conservative or direct.
        graph: official or smooth; None: the file's own.
        weights: ema, raw or official-ft of an official checkpoint.
        elements: "trained" refuses elements that the head was not trained on, "any" warns of them.
        keys: names of the labels; None: found automatically.
        target: for a head of scalars, classes or vectors: key of the labels in ``info``; None: as in its
            training data.
        index: frames, as a slice.
        allow_truncated: use the complete frames of a file that was cut off.
        energy_unit: unit of the energies in the file, if not eV.
        length_unit: unit of the lengths in the file, if not Å.
        forces_unit: unit of the forces in the file, if not that of energies per length, such as hartree/bohr.
        stress_unit: unit of the stress in the file, such as GPa or kbar.
        stress_sign: what is positive in the file: tension as in ASE, or pressure as VASP prints it.
        group_by: config_type or formula.
        device: auto, cpu, cuda, cuda:N.
        dtype: float32 or float64.
        max_edges: size of a batch.
        say: receives messages.
    """
    from jmp_calc.inference.predict import class_names
    from jmp_calc.inference.settings import Settings, check_covered, choose_policy, warn_of_uncovered
    from jmp_calc.machine.device import choose_device, choose_dtype
    from jmp_calc.zoo.names import resolve

    loaded = resolve(model, weights=weights)
    settings = Settings(
        model=str(model),
        head=head,
        device=device,
        dtype=dtype,
        forces=forces,
        weights=weights,
        graph=graph,
    )
    chosen, target = _head_and_target(loaded.potential.config, settings, target)
    task = task_of_head(chosen, target)
    classes = class_names(chosen) if output_of(chosen) == "class" else ()
    labelled = read_labelled(
        data,
        keys=keys or LabelKeys(),
        index=index,
        allow_truncated=allow_truncated,
        require=(),
        units=LabelUnits(
            energy=energy_unit,
            length=length_unit,
            forces=forces_unit,
            stress=stress_unit,
            stress_sign=stress_sign,
        ),
        target=target,
        target_kind=task.target_kind,
    )
    frames = labelled.frames if target is None else with_target(labelled.frames, target)
    refuse_not_finite(frames)
    if target is not None and classes:
        frames = with_numbers(frames, target, classes, "The head was not trained on others.")
    if not frames or (
        target is None and all(f.energy is None and f.forces is None and f.stress is None for f in frames)
    ):
        raise BadInputError(
            "There is nothing to compare with: no frame has an energy, forces or a stress.",
            where=str(data),
            hint="name the keys with --energy-key, --forces-key, --stress-key",
        )
    policy = choose_policy(loaded.potential.config, chosen, settings)
    numbers = np.unique(np.concatenate([frame.numbers for frame in frames]))
    if elements == "trained":
        check_covered(loaded.potential.config, chosen, numbers, str(model), where=str(data))
    else:
        warn_of_uncovered(chosen, numbers.tolist())
    potential = loaded.potential.with_config(dataclasses.replace(loaded.potential.config, policy=policy))
    potential = potential.to(device=choose_device(device), dtype=choose_dtype(dtype))
    messages = labelled.messages
    if len(frames) < len(labelled.frames):
        messages += (
            f"{len(labelled.frames) - len(frames)} of {len(labelled.frames)} frames have no finite "
            f"{target!r} and do "
            "not count.",
        )
    for message in messages:
        say(message)
    graphs = FrameGraphs(frames, policy, task, qint_tags=potential.config.backbone.qint_tags)
    order = Fixed(graphs.sizes, max_edges=max_edges, max_structures=64)
    batches = Batches(graphs, order, device=choose_device(device))
    config = TrainConfig(forces="direct" if forces == "direct" else "conservative")
    config = config if target is None else config.for_target(task.target_kind)
    _, predictions = validate(potential, batches, config.loss, config.forces)
    failed = [frame.where for frame, bad in zip(frames, predictions.not_finite) if bad]
    if failed:
        messages += (
            f"The predictions for {len(failed)} of {len(frames)} frames are not finite: "
            f"{first_five(failed)}.",
        )
        say(messages[-1])
    groups = [_group(frame, group_by) for frame in frames]
    offset = (predictions.energy - predictions.energy_true) / predictions.n_atoms
    known = offset[~np.isnan(predictions.energy_true)]
    return EvaluationResult(
        predictions.errors(),
        predictions.errors_by_group(groups),
        round(float(known.mean() * 1e3), 4) if len(known) else None,
        chosen.name,
        predictions,
        frames,
        messages,
        target,
        classes,
    )


def target_of_model(
    model: str | Path, head: str | None, weights: Literal["ema", "raw", "official-ft"], target: str | None
) -> tuple[str | None, TargetKind]:
    """Key and kind of the labels that a head of a model is compared with; key None: energies, forces and
    stresses."""
    from jmp_calc.inference.settings import Settings
    from jmp_calc.zoo.names import resolve

    config = resolve(model, weights=weights).potential.config
    task = task_of_head(
        *_head_and_target(config, Settings(model=str(model), head=head, weights=weights), target)
    )
    return task.target, task.target_kind


def _head_and_target(
    config: ModelConfig, settings: Settings, target: str | None
) -> tuple[HeadConfig, str | None]:
    """The head, and for one without energies the name of its labels."""
    from jmp_calc.inference.settings import choose_head

    named = [head for head in config.heads if head.name == (settings.head or config.default_head)]
    gives: Output = output_of(named[0]) if named else "energy"
    if target is not None and gives == "energy":  # refused if the head was named, else another one is meant
        others = {output_of(head) for head in config.heads} - {"energy"}
        gives = others.pop() if len(others) == 1 else "scalar"
    head = choose_head(config, settings, gives=gives)
    if gives != "energy" and target is None and head.target is None:
        raise UsageError(
            f"Head {head.name!r} does not say which {gives} it gives.",
            where=settings.model,
            hint="name the key of the labels with --target",
        )
    return head, target or head.target


def _group(frame: Frame, group_by: str) -> str:
    if group_by == "config_type":
        return frame.group
    from ase.formula import Formula

    return str(Formula.from_list([_symbol(z) for z in frame.numbers]).format("metal"))


def _symbol(number: int) -> str:
    from jmp_calc.model.elements import symbol

    return symbol(number)
