"""Labelled frames of a file one after the other, for files larger than memory; the rules are those of
:mod:`.labels`.

Keys are chosen from blocks of frames; a label that changes its key within the file is an error that asks for
the key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path

from jmp_calc.errors import BadInputError
from jmp_calc.io.raw_frame import RawFrame

from .frame import Frame
from .keys import LabelKeys, check_given, choose_keys
from .label_units import LabelUnits, Scales
from .labels import check_unit_known, is_isolated, label_frame, refuse_other_state
from .raw import stream_raw
from .screen import Screen

_BLOCK = 256


@dataclass(frozen=True)
class LabelOptions:
    """How labels are read; see ``labels.read_labelled``."""

    keys: LabelKeys = LabelKeys()
    require: tuple[str, ...] = ("energy", "forces")
    """Labels that every frame must have."""
    target: str | None = None
    units: LabelUnits = LabelUnits()
    allow_truncated: bool = False


def stream_labelled(
    path: Path,
    options: LabelOptions,
    screen: Screen,
    position: Callable[[float | None], None] = lambda fraction: None,
) -> Iterator[Frame]:
    """Frames of any labelled file that ``screen`` accepts; isolated atoms are left out and counted.

    ``position`` is told the share of the file that was read, None if it is not known. A frame with labels
    that are missing or misshapen is an error, or counted, as the screen says; a file that cannot be read on
    is always an error (BadInputError).
    """
    stream = stream_raw(path, allow_truncated=options.allow_truncated)
    check_unit_known(stream.foreign_units, options.units, path)
    scales = options.units.scales()
    used: LabelKeys | None = None
    while block := list(islice(stream.frames, _BLOCK)):
        if used is None:
            check_given(block, options.keys, options.target, path)
        found, _ = choose_keys(block, options.keys, options.target, path)
        used = found if used is None else _joined(used, found, f"{path} frame {block[0].index}")
        for raw in block:
            frame = _labelled(raw, used, path, scales, options, screen)
            if frame is not None and screen.accepts(frame):
                yield frame
        position(stream.fraction)
    if used is None:
        raise BadInputError(f"{path.name} has no frames.", where=str(path))


def _labelled(
    raw: RawFrame,
    keys: LabelKeys,
    path: Path,
    scales: Scales,
    options: LabelOptions,
    screen: Screen,
) -> Frame | None:
    """The frame, or None where it is left out and counted."""
    try:
        frame = label_frame(raw, keys, path.name, scales, options.target)
    except BadInputError:
        if screen.on_bad == "fail":
            raise
        screen.counts["unreadable labels"] += 1
        return None
    if options.target is None and is_isolated(raw, frame):
        screen.counts["isolated atoms"] += 1
        return None
    try:
        refuse_other_state(raw, path.name)
    except BadInputError:
        if screen.on_bad == "fail":
            raise
        screen.counts["charge or spin"] += 1
        return None
    if options.target is None:
        missing = [label for label in options.require if getattr(frame, label) is None]
    else:
        missing = [] if frame.targets else [options.target]
    if not missing:
        return frame
    if screen.on_bad == "fail":
        label = missing[0]
        hint = f"--{label}-key NAME says where it is, --allow-missing {label} takes such frames"
        raise BadInputError(
            f"The frame has no {label}.",
            where=f"{path} frame {raw.index}",
            hint=hint if options.target is None else "leave such frames out with --on-bad skip",
        )
    screen.counts[f"without {missing[0]}"] += 1
    return None


def _joined(used: LabelKeys, found: LabelKeys, where: str) -> LabelKeys:
    """The keys so far with those of another block; BadInputError if a label has another key there."""
    for item in fields(LabelKeys):
        before, now = getattr(used, item.name), getattr(found, item.name)
        if now is None or now == before:
            continue
        if before is not None:
            raise BadInputError(
                f"The {item.name} is under {now!r} here and under {before!r} before.",
                where=where,
                hint=f"choose one with --{item.name}-key",
            )
        used = replace(used, **{item.name: now})
    return used
