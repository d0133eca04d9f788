"""One process that labels: makes its teacher, then answers one batch after the other.

Started by ``process.Worker``, with this interpreter or with another one that has numpy, ASE and the package
of the teacher; nothing else of jmp-calc is imported there. Messages go through the standard input and
output; what the teacher prints goes to the standard error.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from typing import IO, Any

GRACE_S = 5.0
"""A batch that takes longer than its time, and this, ends the process even if nobody waits any more."""
WATCH_S = 1.0


def main() -> None:
    """Answer until the input ends."""
    source, target = _own_pipes()
    from .pipe import Exactly, packed, received

    header, _ = received(Exactly(source))
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    teacher, ready = _made(header)
    _send(target, packed(ready))
    if teacher is None:
        return
    while True:
        try:
            header, arrays = received(Exactly(source))
        except EOFError:
            return
        if header["seconds"] is not None and hasattr(signal, "alarm"):
            signal.alarm(int(header["seconds"] + GRACE_S) + 1)
        _send(target, _answer(teacher, arrays))
        if hasattr(signal, "alarm"):
            signal.alarm(0)


def _own_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """The pipes of this process; whoever else reads or prints meets nothing, and the standard error."""
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return source, target


def _end_with(parent: int) -> None:
    """End this process and those that it started when the run that asks is gone."""
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    with suppress(OSError):
        os.killpg(os.getpgid(0), signal.SIGKILL)


def _send(target: IO[bytes], data: bytes) -> None:
    with suppress(BrokenPipeError):
        target.write(data)
        target.flush()


def _made(header: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The teacher and its facts, or None and why there is none."""
    from .labels import TeacherSpec
    from .teachers.make import made

    try:
        teacher = made(TeacherSpec(**header["spec"]))
        return teacher, {"kind": "ready", "facts": teacher.facts.to_dict()}
    except ModuleNotFoundError as error:
        return None, {"kind": "missing", "name": error.name or str(error)}
    except Exception as error:
        return None, {
            "kind": "failed",
            "fact": getattr(error, "fact", None) or _told(error),
            "where": getattr(error, "where", None),
            "hint": getattr(error, "hint", None),
            "usage": getattr(error, "exit_code", 5) == 2,
        }


def _answer(teacher: Any, arrays: dict[str, Any]) -> bytes:
    """The message with the labels of a batch; one that failed as a whole is to come again frame by frame."""
    from .labels import Refusal, checked
    from .pipe import answers_to_arrays, arrays_to_frames, packed

    frames = arrays_to_frames(arrays)
    try:
        answers = list(teacher.label(frames))
        if len(answers) != len(frames):
            raise ValueError(f"{len(answers)} answers for {len(frames)} structures")
    except Exception as error:
        if len(frames) > 1:
            return packed({"kind": "split"})
        answers = [Refusal(_told(error))]
    sound = [checked(a, len(f), periodic=bool(f.pbc.all())) for a, f in zip(answers, frames)]
    reasons, labels = answers_to_arrays(sound, [len(frame) for frame in frames])
    return packed({"kind": "labels", "reasons": reasons}, labels)


def _told(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())[:400]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


if __name__ == "__main__":
    main()
