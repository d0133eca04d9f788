"""Under which keys a file holds energy, forces and stress.

Order of keys: the user's own, then ``REF_*``, then the standard names (attached
calculator, ``info``, ``arrays``). Which was used is reported. Nothing is guessed beyond that list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.io.header import as_floats
from jmp_calc.io.raw_frame import RawFrame

AUTOMATIC = {
    "energy": ("REF_energy", "energy"),
    "forces": ("REF_forces", "forces"),
    "stress": ("REF_stress", "stress"),
    "virials": ("REF_virials", "REF_virial", "virials", "virial"),
}
"""Keys of each label in the order in which they are taken."""
_CONFLICT_TOLERANCE = {"energy": 1e-5, "forces": 1e-4}
_SMEARING = 1e-3
"""eV per atom between an energy and the free energy from which it matters to which of them the forces
belong."""


@dataclass(frozen=True)
class LabelKeys:
    """Names of the labels in a file; None: found automatically. ``virials`` become stress = -virials /
    volume."""

    energy: str | None = None
    """Name of the energy."""
    forces: str | None = None
    """Name of the forces."""
    stress: str | None = None
    """Name of the stress (ASE's sign)."""
    virials: str | None = None
    """Name of the virials (stress = -virials / volume)."""


def lookup(frame: RawFrame, label: str, key: str) -> Any:
    """The value of a label, or None; a calculator's own result comes first for the standard names."""
    if key in frame.results:
        return frame.results[key]
    if label == "forces":
        return frame.arrays.get(key)
    return frame.info.get(key)


NAMED = ("energy", "forces")
"""Labels whose keys are proposed where none is known."""
UNKNOWN_KEY = "no known key"


def check_given(frames: Sequence[RawFrame], keys: LabelKeys, target: str | None, path: Path) -> None:
    """BadInputError if no frame has a label, or the target, under the key that the user gave; UsageError for
    keys of both stress and virials."""
    if keys.stress is not None and keys.virials is not None:
        raise UsageError(
            "--stress-key and --virials-key contradict each other.", hint="leave one of them out"
        )
    given = vars(keys).items() if target is None else [("target", target)]
    for label, key in given:
        if key is not None and all(lookup(frame, label, key) is None for frame in frames):
            what = f"{label} under the key {key!r}" if target is None else f"the target {key!r}"
            raise BadInputError(
                f"No frame of {path.name} has {what}.",
                where=str(path),
                hint=f"keys of the file: {', '.join(available_keys(frames, label)) or 'none'}",
            )


def choose_keys(
    frames: Sequence[RawFrame], keys: LabelKeys, target: str | None, path: Path
) -> tuple[LabelKeys, list[str]]:
    """The key of each label, and messages on them; BadInputError for contradictory labels. With a target, no
    other label."""
    if target is not None:
        return LabelKeys(), [_report(frames, "target", target)]
    chosen: dict[str, str | None] = {}
    messages = []
    for label, candidates in AUTOMATIC.items():
        explicit = getattr(keys, label)
        if explicit is not None:
            chosen[label] = explicit
            messages.append(_report(frames, label, explicit))
            continue
        present = [
            key for key in candidates if any(lookup(frame, label, key) is not None for frame in frames)
        ]
        chosen[label] = present[0] if present else None
        if present:
            if label in _CONFLICT_TOLERANCE and len(present) > 1:
                _refuse_conflict(frames, label, present[0], present[1], path)
            messages.append(_report(frames, label, present[0]))
        elif label in NAMED and (others := available_keys(frames, label)):
            messages.append(f"{label}: {UNKNOWN_KEY} (--{label}-key: {', '.join(others)}).")
    if chosen["stress"] is not None and chosen["virials"] is not None:
        if keys.stress is None and (
            keys.virials is not None or _is_ref(chosen["virials"]) > _is_ref(chosen["stress"])
        ):
            messages.append(f"stress ({chosen['stress']!r}) not used: {chosen['virials']!r} come first.")
            chosen["stress"] = None
        else:
            messages.append(f"virials ({chosen['virials']!r}) not used: the file has a stress.")
            chosen["virials"] = None
    if chosen["energy"] == "energy":
        messages += _smearing(frames)
    return LabelKeys(**chosen), messages


def _smearing(frames: Sequence[RawFrame]) -> list[str]:
    """A message where energies are extrapolated to no smearing (VASP), so that forces are not their
    derivatives."""
    differences = [
        abs(float(frame.results["free_energy"]) - float(frame.results["energy"])) / len(frame.numbers)
        for frame in frames
        if {"energy", "free_energy"} <= frame.results.keys()
    ]
    if not differences or max(differences) < _SMEARING:
        return []
    return [
        f"energy: up to {1e3 * max(differences):.1f} meV/atom from the free energy, to which forces and "
        "stress belong "
        "(smearing): choose --energy-key free_energy for dynamics and phonons."
    ]


def _is_ref(key: str) -> bool:
    return key.startswith("REF_")


def _report(frames: Sequence[RawFrame], label: str, key: str) -> str:
    count = sum(lookup(frame, label, key) is not None for frame in frames)
    sign = " (stress = -virials / volume)" if label == "virials" else ""
    return f"{label}: key {key!r} in {count} of {len(frames)} frames{sign}."


def available_keys(frames: Sequence[RawFrame], label: str) -> list[str]:
    """Keys of the file that could hold the label, most frequent first."""
    counts: Counter[str] = Counter()
    for frame in frames:
        if label == "forces":
            counts.update(
                [
                    *(k for k, v in frame.arrays.items() if np.shape(v)[1:] == (3,)),
                    *(key for key in frame.results if key == label),
                ]
            )
        else:
            counts.update([*frame.info, *(key for key in frame.results if key == label)])
    return [key for key, _ in counts.most_common(12) if key not in ("config_type", "pbc")]


def _refuse_conflict(frames: Sequence[RawFrame], label: str, first: str, second: str, path: Path) -> None:
    """Two different labels in one file: nobody but the user can say which is meant."""
    different = []
    for frame in frames:
        a, b = lookup(frame, label, first), lookup(frame, label, second)
        if a is None or b is None:
            continue
        x, y = label_numbers(a, label, path.name, frame), label_numbers(b, label, path.name, frame)
        if x.shape != y.shape or np.abs(x - y).max(initial=0.0) > _CONFLICT_TOLERANCE[label]:
            different.append((frame.index, x, y))
    if not different:
        return
    shown = "; ".join(
        f"frame {i}: {float(x):.6f} and {float(y):.6f}"
        if label == "energy" and x.size == y.size == 1
        else f"frame {i}: largest |F| {np.abs(x).max():.4f} and {np.abs(y).max():.4f}"
        for i, x, y in different[:5]
    )
    raise BadInputError(
        f"{path.name} has {first!r} and {second!r}, and they differ in {len(different)} frames: {shown}.",
        where=str(path),
        hint=f"choose one with --{label}-key",
    )


def label_numbers(value: Any, label: str, source: str, frame: RawFrame) -> np.ndarray:
    """A label as floats, in the shape that it has; BadInputError if it is not numeric."""
    try:
        return as_floats(value)
    except (ValueError, TypeError):
        raise BadInputError(
            f"The {label} {str(value)[:60]!r} is not numeric.", where=f"{source} frame {frame.index}"
        ) from None
