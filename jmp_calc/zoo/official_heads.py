"""Heads of official checkpoints: which there are, their constants, and their keys here.

Pre-training files have one energy and one direct-force head per task (``gemnet_oc.md`` 11.2), fine-tuned
files those of 11.3 and 11.4.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ModelError
from ..model.config import BackboneConfig, HeadConfig, HeadKind, Theory
from .official_layout import TASKS, Shape, head_layout

# task: energy scale (eV), force scale (eV/Å), cutoff (Å), level of theory, elements (checkpoint_format.md
# section 6)
_DOCUMENTED: dict[str, tuple[float, float, float, str, tuple[int, ...] | None]] = {
    "oc20": (24.901469505465872, 0.5111534595489502, 12.0, "RPBE", None),
    "oc22": (25.229595396538468, 0.25678861141204834, 12.0, "PBE+U", None),
    "ani1x": (2.8700712783472118, 2.131422996520996, 8.0, "wB97X/6-31G(d)", (1, 6, 7, 8)),
    "transition1x": (1.787466168382901, 0.3591422140598297, 8.0, "wB97X/6-31G(d)", (1, 6, 7, 8)),
}  # fmt: skip
_WB97X = Theory("wB97X", "6-31G(d)", "none")
_THEORY = {
    "oc20": Theory("RPBE", "plane waves, PAW", "none", hubbard_u="none"),
    "oc22": Theory("PBE", "plane waves, PAW", "none", "collinear", "Materials Project"),
    "ani1x": _WB97X,
    "transition1x": _WB97X,
}
"""The same in fields, from the papers of the data sets."""
PRETRAINING_DATA: tuple[dict[str, Any], ...] = (
    {"name": "OC20", "head": "oc20", "licence": "CC-BY-4.0"},
    {"name": "OC22", "head": "oc22", "licence": "CC-BY-4.0"},
    {"name": "ANI-1x", "head": "ani1x", "licence": "see its publisher"},
    {"name": "Transition1x", "head": "transition1x", "licence": "see its publisher"},
)  # fmt: skip
"""Sets of the published pre-training checkpoints."""
_FINETUNED = re.compile(
    r"(?:(out_energy|out_forces)"
    r"|(graph_outputs|graph_classification_outputs|node_outputs)\._module_dict\.ft_mlp_(.+?)\.out_mlp)\.(\d+)\.(weight|bias)"
)


@dataclass(frozen=True)
class OfficialHeads:
    """Heads of a file with the layout of their tensors and remarks for the card."""

    heads: tuple[HeadConfig, ...]
    names: dict[str, str]
    """Our key -> official key."""
    layout: dict[str, Shape]
    """Official key -> shape that it must have."""
    notes: tuple[str, ...]


def pretraining_heads(
    shapes: Mapping[str, Shape], hyper: Mapping[str, Any], size: BackboneConfig
) -> OfficialHeads:
    """The energy and direct-force heads of a pre-training checkpoint, in the order of its tasks.

    Raises:
        ModelError: not as many heads as tasks.
    """
    n_tasks = len({key.split(".")[2] for key in shapes if key.startswith("output.out_energy.")})
    tasks = hyper.get("tasks")
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        tasks = [{"name": name} for name in TASKS]
    labels = [task.get("name") for task in tasks]
    if n_tasks != len(labels) or len(set(labels)) != n_tasks or not all(_is_name(label) for label in labels):
        raise ModelError(
            f"The checkpoint has {n_tasks} pairs of heads but names {len(labels)} tasks: {labels}.",
            hint="jmp-calc reads files whose heads belong to named pre-training tasks",
        )
    heads: list[HeadConfig] = []
    notes: list[str] = []
    for task in tasks:
        head, remarks = _pretraining_head(task, size)
        heads.append(head)
        notes += remarks
    names: dict[str, str] = {}
    layout: dict[str, Shape] = {}
    for kind, width in (("energy", size.emb_size_atom), ("forces", size.emb_size_edge)):
        for index, head in enumerate(heads):
            prefix = f"output.out_{kind}.{index}"
            part = head_layout(prefix, width)
            layout |= part
            names |= {f"heads.{head.name}.{kind}{key.removeprefix(prefix)}": key for key in part}
    notes.append("energies have no atomic reference: only differences at fixed composition have a meaning")
    return OfficialHeads(tuple(heads), names, layout, tuple(notes))


def _pretraining_head(task: Mapping[str, Any], size: BackboneConfig) -> tuple[HeadConfig, list[str]]:
    name, notes = task["name"], []
    known = _DOCUMENTED.get(name)
    energy = _statistics(task.get("normalization"), "y")
    forces = _statistics(task.get("normalization"), "force")
    if energy is None or forces is None:
        if known is None:
            raise ModelError(f"The checkpoint has no normalisation constants for its head {name!r}.")
        energy, forces = (0.0, known[0]), (0.0, known[1])
        notes.append(f"{name}: the file has no normalisation constants, the documented ones are used")
    if energy[0] != 0.0:
        notes.append(f"{name}: the constant {energy[0]} eV per structure of the training labels is left out")
    reduction = task.get("node_energy_reduction", "sum")
    if reduction != "sum":
        raise ModelError(
            f"The head {name!r} reduces energies by {reduction!r}.", hint="only sums can be used"
        )
    return HeadConfig(
        name=name,
        kind="energy",
        hidden=size.emb_size_atom,
        direct_forces=True,
        energy_scale=energy[1],
        force_scale=forces[1],
        level_of_theory=known[3] if known else "unknown",
        theory=_THEORY.get(name, Theory()),
        elements=known[4] if known else None,
        cutoff=known[2] if known else None,
    ), notes


def finetuned_heads(
    shapes: Mapping[str, Shape], hyper: Mapping[str, Any], size: BackboneConfig
) -> OfficialHeads:
    """The heads of a fine-tuned official model; outputs stay normalised (scale 1) if the file has no
    constants.

    Raises:
        ModelError: two heads of one name.
    """
    groups, biased = _layers_by_head(shapes)
    heads: list[HeadConfig] = []
    names: dict[str, str] = {}
    layout: dict[str, Shape] = {}
    notes: list[str] = []
    for group, layers in groups.items():
        root, name = group
        if root == "out_forces" and ("out_energy", name) in groups:
            part = ("out_forces", "forces", size.emb_size_edge)
        else:
            head, remarks = _finetuned_head(
                group, layers, group in biased, ("out_forces", name) in groups, hyper, size
            )
            heads.append(head)
            notes += remarks
            vector = head.kind == "vector"
            part = (
                root,
                "forces" if vector else "energy",
                size.emb_size_edge if vector else size.emb_size_atom,
            )
        prefix = root if root.startswith("out_") else f"{root}._module_dict.ft_mlp_{name}.out_mlp"
        expected = head_layout(
            prefix, part[2], n_layers=len(layers), n_out=_n_out(layers), bias=group in biased
        )
        layout |= expected
        names |= {f"heads.{name}.{part[1]}{key.removeprefix(prefix)}": key for key in expected}
    if len({head.name for head in heads}) != len(heads):
        raise ModelError(
            f"Two heads of the checkpoint have the same name: {sorted(head.name for head in heads)}."
        )
    return OfficialHeads(tuple(heads), names, layout, tuple(notes))


def _layers_by_head(
    shapes: Mapping[str, Shape],
) -> tuple[dict[tuple[str, str], dict[int, Shape]], set[tuple[str, str]]]:
    """Weights of the layers of each (root, name), and those that have a bias."""
    groups: dict[tuple[str, str], dict[int, Shape]] = {}
    biased: set[tuple[str, str]] = set()
    for key, shape in shapes.items():
        match = _FINETUNED.fullmatch(key)
        if match is None:
            continue
        group = (match[1] or match[2], match[3] or "finetuned")
        if match[5] == "bias":
            biased.add(group)
        else:
            groups.setdefault(group, {})[int(match[4])] = shape
    return groups, biased


def _kind(root: str, n_out: int) -> HeadKind:
    if root == "out_energy":
        return "energy"
    if root == "graph_classification_outputs":
        return "binary" if n_out == 1 else "multiclass"
    return "vector" if root in ("node_outputs", "out_forces") else "scalar"


def _finetuned_head(
    group: tuple[str, str],
    layers: Mapping[int, Shape],
    bias: bool,
    direct: bool,
    hyper: Mapping[str, Any],
    size: BackboneConfig,
) -> tuple[HeadConfig, list[str]]:
    root, name = group
    n_out = _n_out(layers)
    kind = _kind(root, n_out)
    constants = hyper.get("normalization")
    forces = _statistics(constants, "force")
    # With gradient forces only forces are trained: E = std_F * y is consistent with them, std_y * y is not.
    own = (
        (_statistics(constants, "y") if direct else forces)
        if kind == "energy"
        else _statistics(constants, name)
    )
    notes = []
    if own is None and kind in ("energy", "scalar", "vector"):
        notes.append(f"{name}: the file has no normalisation constants; outputs are in normalised units")
    shift, scale = own or (0.0, 1.0)
    return HeadConfig(
        name=name,
        kind=kind,
        hidden=size.emb_size_edge if kind == "vector" else size.emb_size_atom,
        num_layers=len(layers),
        bias=bias,
        num_classes=n_out,
        direct_forces=direct and kind == "energy",
        energy_scale=scale if kind in ("energy", "scalar") else 1.0,
        energy_shift=shift if kind == "scalar" else 0.0,
        force_scale=forces[1] if forces else 1.0,
        unit="eV" if kind == "energy" else "label units",
    ), notes


def _n_out(layers: Mapping[int, Shape]) -> int:
    shape = layers[max(layers)]
    return shape[0] if shape else 1


def _is_name(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value) is not None


def _statistics(constants: object, key: str) -> tuple[float, float] | None:
    """(mean, std) of one label from a normalisation dict of the file; None if it is not there or no
    number."""
    entry = constants.get(key) if isinstance(constants, dict) else None
    if not isinstance(entry, dict):
        return None
    mean, std = entry.get("mean", 0.0), entry.get("std")
    if not isinstance(mean, int | float) or not isinstance(std, int | float):
        return None
    return (float(mean), float(std)) if math.isfinite(mean) and math.isfinite(std) and std > 0 else None
