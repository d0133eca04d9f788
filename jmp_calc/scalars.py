"""Scalars of structures (band gaps, formation energies, ...) from models whose head gives one number per structure.

Example: ``predict(ase.io.read("crystals.xyz", ":"), model="run/best.safetensors")`` after
``jmp-calc finetune train.xyz --target gap``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from .batching import evaluate_many
from .evaluator import Evaluator
from .model.config import PolicyName
from .settings import Settings, check_settings, portable


def predict(
    structures: Atoms | Sequence[Atoms],
    *,
    model: str | os.PathLike[str],
    head: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    weights: Literal["ema", "raw", "official-ft"] = "ema",
    graph: PolicyName | None = None,
) -> NDArray[np.float64]:
    """The scalar of every structure, in the units of the labels that the head was trained on.

    Args:
        structures: one structure or several, of any size and periodicity.
        model: path of one of our files, or of an official checkpoint with a scalar head.
        head: a scalar head of the model; None: its default.
        device: auto, cpu, cuda, cuda:N.
        dtype: precision of the network, float32 or float64.
        weights: which weights of an official checkpoint.
        graph: official or smooth; None: the file's own.

    Returns:
        shape (structures,).

    Raises:
        ModelError: the head gives energies or classes, or does not know an element.
        BadStructureError: naming the structure.
    """
    settings = Settings(portable(model), head, device, dtype, weights=weights, graph=graph)
    check_settings(settings)
    evaluator = Evaluator(settings, gives="scalar")
    many = [structures] if isinstance(structures, Atoms) else structures
    return np.array([found["energy"] for found in evaluate_many(evaluator, many, ("energy",))], dtype=np.float64)
