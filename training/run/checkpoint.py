"""Resumable state of a run in one file, written atomically and read without executing anything.

The file holds tensors and plain containers only; it is read with ``torch.load(weights_only=True)``, which
refuses everything else. A crash while writing leaves the previous file untouched.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jmp_calc.errors import BadInputError, JMPError, UsageError
from jmp_calc.io.atomic import replacing

FORMAT_VERSION = 1


@dataclass
class Progress:
    """Where a run stands; everything that is neither a weight nor a setting."""

    epoch: int = 0
    batch: int = 0
    """Batches of this epoch that are done."""
    step: int = 0
    """Optimizer steps done."""
    elapsed: float = 0.0
    """Seconds of wall time spent so far, over all restarts."""
    begun: float = 0.0
    """Seconds of them before the first step."""
    best_loss: float = float("inf")
    """Smallest validation error so far, of the kind that ``TrainConfig.metric`` names."""
    best_epoch: int = -1
    n_clipped: int = 0
    """Steps whose gradient was scaled down."""
    since_best: int = 0
    """Validations since the best one."""
    validated_at: int = -1
    """Step of the last validation."""
    validated_forces: str = ""
    """Whether its forces were conservative or direct."""
    plateau: dict[str, Any] | None = None
    """Fields of the Plateau once its stage has begun."""
    loss_scale: float = 1.0
    """Factor on the loss while it is differentiated (float16 only)."""
    scale_held: int = 0
    """Steps since the factor changed."""

    def forget_best(self) -> None:
        """Validation errors from now on are of another kind: the next one is the best so far."""
        self.best_loss, self.since_best = float("inf"), 0
        if self.plateau is not None:
            self.plateau = {**self.plateau, "best": float("inf"), "bad": 0}


@dataclass(frozen=True)
class Checkpoint:
    """One saved state (see the fields of the file in ``save_checkpoint``)."""

    progress: Progress
    weights: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict[str, Any]
    rng: dict[str, Any]
    totals: dict[str, Any]
    """Running sums of the training loss."""
    config: dict[str, Any]
    model_config: dict[str, Any]
    data: dict[str, Any]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write ``path`` atomically; JMPError if the disk is full, with the previous state untouched."""
    content = {
        "format": "jmp-calc training state",
        "version": FORMAT_VERSION,
        "progress": vars(checkpoint.progress),
        **{name: getattr(checkpoint, name) for name in _PARTS},
    }
    try:
        with replacing(path) as temporary, open(temporary, "wb") as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as err:
        # torch's writer raises an error of its own over that of the file.
        cause = err if isinstance(err, OSError) else err.__context__
        if not isinstance(cause, OSError):
            raise
        raise JMPError(
            f"The state of the run could not be written: {cause.strerror}.",
            where=str(path),
            hint="free some space and go on with --resume; the previous state is untouched",
        ) from err


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a state; files that are damaged, foreign or newer than this version are refused."""
    if not path.is_file():
        raise UsageError("There is no run to resume here.", where=str(path), hint="start it without --resume")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as err:
        raise BadInputError(
            "The saved state of the run cannot be read.",
            where=str(path),
            hint="it was damaged or not written by jmp-calc; start again with --overwrite",
        ) from err
    if not isinstance(content, dict) or content.get("format") != "jmp-calc training state":
        raise BadInputError("This is not a saved state of jmp-calc.", where=str(path))
    if content["version"] > FORMAT_VERSION:
        raise BadInputError(
            "The run was saved by a newer version of jmp-calc.",
            where=str(path),
            hint="pip install --upgrade jmp-calc",
        )
    return Checkpoint(progress=Progress(**content["progress"]), **{name: content[name] for name in _PARTS})


def rng_state() -> dict[str, Any]:
    """State of torch's global generators (CPU and, if used, CUDA)."""
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Inverse of rng_state; CUDA states are ignored on a machine without CUDA."""
    torch.set_rng_state(state["cpu"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])


_PARTS = ("weights", "ema", "optimizer", "rng", "totals", "config", "model_config", "data")
