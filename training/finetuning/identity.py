"""What a resumed run must have in common with its beginning, beside its settings: data, start model, replayed
data."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.frame import Frame
from .prepare import Prepared
from .start import Start


def run_identity(prepared: Prepared, begun: Start) -> dict[str, Any]:
    """Of each set, and of replayed ones, number of frames and hash of structures and labels; start model and
    references.

    Hash instead of name, so that a model may be moved; energies are rounded, because another machine adds
    them otherwise.
    """
    start = prepared.start
    references = {} if prepared.references is None else prepared.references.values
    origin = {
        "sha256": prepared.loaded.sha256,
        "from_scratch": start.from_scratch,
        "head": start.head_name,  # names of the first version of the state
        "init_head": start.head,
        "keep_heads": start.keep_heads,
        "graph": start.graph,
        "dtype": start.dtype,
        "references": {str(z): round(energy, 4) for z, energy in sorted(references.items())},
    }
    if start.committee > 1:
        origin["committee"] = start.committee
    facts = {"train": _identity(prepared.train), "valid": _identity(prepared.valid), "start": origin}
    if begun.replayed:
        sets = {item.task.title: _identity(item.frames) for item in begun.replayed}
        facts["replay"] = {"share": prepared.data.share, **sets}
    return facts


def _identity(frames: Sequence[Frame]) -> dict[str, Any]:
    return {"frames": len(frames), "sha256": _hash(frames)}


def _hash(frames: Sequence[Frame]) -> str:
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(repr((frame.energy, frame.pbc.tolist(), *sorted(frame.targets.items()))).encode())
        digest.update("".join(frame.classes.values()).encode())
        for array in (
            frame.numbers,
            frame.positions,
            frame.cell,
            frame.forces,
            frame.stress,
            *frame.vectors.values(),
        ):
            digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
