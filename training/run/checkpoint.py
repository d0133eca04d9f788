"""Resumable state of a run in one file, written atomically and read without executing anything.

The file holds tensors and plain containers only; it is read with ``torch.load(weights_only=True)``, which
refuses everything else. Behind the archive of torch is a line with the version of the format and the SHA-256
of all before it, which is checked when the state is read. A crash while writing leaves the previous file
untouched.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from torch import Tensor

from jmp_calc.errors import BadInputError, JMPError, UsageError
from jmp_calc.io.atomic import replacing

from ..config import WeightSet

FORMAT_VERSION = 2
_SEAL = "jmp-calc training state "
_CHUNK, _END_OF_ARCHIVE = 1 << 20, 22
"""Bytes that are hashed at a time, and of the record that ends an archive of torch."""


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
    reserve: float = 0.0
    """Seconds that the last validation took; kept for the next one."""
    best_loss: float = float("inf")
    """Smallest validation error so far, of the kind that ``TrainConfig.metric`` names."""
    best_epoch: int = -1
    best_step: int = 0
    best_weights: WeightSet = "raw"
    """Whether the averaged weights were better then, or those as they are."""
    weights: WeightSet = "raw"
    """The same at the last validation."""
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
        "progress": vars(checkpoint.progress),
        **{name: getattr(checkpoint, name) for name in _PARTS},
    }
    try:
        with replacing(path) as temporary, open(temporary, "wb") as file:
            hashed = _Hashed(file)
            torch.save(content, cast("IO[bytes]", hashed))  # it needs no more of it than write and flush
            file.write(_seal(hashed.digest.hexdigest()))
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
    """Read a state onto the CPU; files that are damaged, foreign or of another version are refused."""
    if not path.is_file():
        raise UsageError("There is no run to resume here.", where=str(path), hint="start it without --resume")
    try:
        with open(path, "rb") as file:
            _check_seal(file, path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        progress = Progress(**content["progress"])
        return Checkpoint(progress=progress, **{name: content[name] for name in _PARTS})
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError) as err:
        raise _damaged("cannot be read", path) from err


class _Hashed:
    """A file that is written and hashed in one go."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write and count in."""
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        """Hand over to the system."""
        self._file.flush()


def _seal(digest: str) -> bytes:
    return f"{_SEAL}{FORMAT_VERSION:04d} sha256 {digest}\n".encode()


def _check_seal(file: BinaryIO, path: Path) -> None:
    """BadInputError unless the file ends with the seal of this version and is what was sealed.

    The hash is over every byte before the seal and is checked before anything is unpacked: the archive's own
    checksums are not looked at by torch, and zeroed weights would be used without a word.
    """
    length = len(_seal("0" * 64))
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - length, 0))
    seal = file.read()
    if not seal.startswith(_SEAL.encode()):
        if seal[-_END_OF_ARCHIVE : 4 - _END_OF_ARCHIVE] == b"PK\5\6":
            raise _other_version("an earlier version of jmp-calc, or by another program", path)
        raise _damaged("was cut off, damaged or not written by jmp-calc", path)
    version = seal[len(_SEAL) :][:4]
    if version.isdigit() and int(version) > FORMAT_VERSION:
        raise _other_version("a newer version of jmp-calc", path)
    file.seek(0)
    digest, left = hashlib.sha256(), size - length
    while chunk := file.read(min(left, _CHUNK)):
        digest.update(chunk)
        left -= len(chunk)
    if seal != _seal(digest.hexdigest()):
        raise _damaged("is not what was written: its content hash differs", path)


def _damaged(how: str, path: Path) -> BadInputError:
    best = path.with_name("best.safetensors")
    instead = f", or go on from {best} in another folder (-m, -o)" if best.is_file() else ""
    return BadInputError(
        f"The saved state of the run {how}.", where=str(path), hint=f"start again with --overwrite{instead}"
    )


def _other_version(which: str, path: Path) -> BadInputError:
    return BadInputError(
        f"The state of the run was saved by {which}.",
        where=str(path),
        hint="go on with that version, or start again with --overwrite",
    )


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
