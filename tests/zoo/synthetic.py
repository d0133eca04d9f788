"""Files in the official layout with random numbers and any sizes, written by torch.save as Lightning does."""

from __future__ import annotations

import math
import pathlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from jmp_calc.model.config import BackboneConfig
from jmp_calc.zoo.official_layout import TASKS, backbone_layout, head_layout

SMALL = BackboneConfig(
    num_spherical=3,
    num_radial=6,
    num_blocks=2,
    emb_size_atom=4,
    emb_size_edge=5,
    emb_size_trip_in=3,
    emb_size_trip_out=2,
    emb_size_quad_in=3,
    emb_size_quad_out=2,
    emb_size_aint_in=3,
    emb_size_aint_out=2,
    emb_size_rbf=4,
    emb_size_cbf=2,
    emb_size_sbf=3,
    num_elements=12,
)
Checkpoint = dict[str, Any]
BUFFERS = ("rbf.offset", "rbf.temps", "scale_factor")


def layout(size: BackboneConfig) -> dict[str, tuple[int, ...]]:
    """Every key of a pre-training checkpoint."""
    shapes = {"embedding.atom_embedding.weight": (size.num_elements, size.emb_size_atom)}
    shapes |= {f"backbone.{name}": shape for name, shape in backbone_layout(size).items()}
    for kind, width in (("energy", size.emb_size_atom), ("forces", size.emb_size_edge)):
        for index in range(len(TASKS)):
            shapes |= head_layout(f"output.out_{kind}.{index}", width)
    shapes |= {f"task_steps._module_dict._typed_moduledict_{task}.value": () for task in TASKS}
    return shapes


def state_dict(size: BackboneConfig, seed: int = 0) -> OrderedDict[str, torch.Tensor]:
    """Random weights; radial bases, scale factors and aliases as they must be."""
    generator = torch.Generator().manual_seed(seed)
    state: OrderedDict[str, torch.Tensor] = OrderedDict()
    steps = size.num_radial - 1
    for name, shape in layout(size).items():
        if name.endswith("rbf.offset"):
            state[name] = torch.linspace(0, 1, steps + 1)
        elif name.endswith("rbf.temps"):
            state[name] = torch.full((steps + 1,), 0.5 * steps**2)
        elif name.endswith("scale_factor"):
            state[name] = torch.rand((), generator=generator) + 0.5
        elif ".seq_energy_pre." in name:
            state[name] = state[name.replace("seq_energy_pre", "layers")]
        else:
            state[name] = torch.randn(shape, generator=generator) / math.sqrt(max(1, *shape[1:], 1))
    return state


def parameters(state: dict[str, torch.Tensor]) -> list[str]:
    """Names in the order of the EMA tuple."""
    return [
        name
        for name in state
        if not name.endswith(BUFFERS) and "seq_energy_pre" not in name and not name.startswith("task_steps")
    ]


def checkpoint(size: BackboneConfig = SMALL, *, moments: int = 2) -> Checkpoint:
    """A Lightning-like dict with ``moments`` copies of the parameters as optimizer state."""
    state = state_dict(size)
    names = parameters(state)
    constants = {"y": {"mean": 0.0, "std": 2.5}, "force": {"mean": 0.0, "std": 1.5}}
    tasks = [
        {
            "name": task,
            "train_dataset": {"src": pathlib.PurePosixPath("/data") / task},
            "normalization": constants,
        }
        for task in TASKS
    ]
    backbone = {name: value for name, value in vars(size).items() if name.startswith(("num_", "emb_"))}
    backbone |= {"rbf": {"name": "gaussian"}, "ln": False, "absolute_rbf_cutoff": 12.0, "edge_dropout": 0.1}
    adam = {
        i: {f"m{j}": torch.zeros_like(state[name]) for j in range(moments)} for i, name in enumerate(names)
    }
    ema = tuple(state[name] * 0.5 for name in names)
    return {
        "epoch": 1,
        "global_step": 7,
        "pytorch-lightning_version": "2.0.9",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint": {"best": torch.tensor(1.0)}},
        "optimizer_states": [{"opt": {"state": adam, "param_groups": []}, "ema": ema, "decay": 0.99}],
        "lr_schedulers": [],
        "MixedPrecisionPlugin": {"scale": 1.0},
        "hparams_name": "hparams",
        "hyper_parameters": {
            "id": "x",
            "backbone": backbone,
            "tasks": tasks,
            "paths": [pathlib.PosixPath("/a/b")],
        },
    }


def write(path: Path, change: Callable[[Checkpoint], Any] | None = None) -> Path:
    """Save a small checkpoint after ``change`` has edited it."""
    data = checkpoint()
    if change is not None:
        change(data)
    torch.save(data, path)
    return path
