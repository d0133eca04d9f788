"""The time of a run: what it has used, over all restarts and for all its processes."""

from __future__ import annotations

import time

from ..distributed.world import World

SPEAK_EVERY_S = 30.0
"""Seconds between lines about the progress."""


class Clock:
    """Seconds of wall time since a run began; of several processes those of the first, so that all of them
    end, validate and save at the same step."""

    def __init__(self, world: World, spent: float) -> None:
        """``spent``: seconds that are over already (reading, graphs)."""
        self.world = world
        self.go_on(spent)

    def go_on(self, spent: float) -> None:
        """Count from here, ``spent`` seconds into the run."""
        self.before = spent
        self._start, self._agreed = time.monotonic(), spent
        self._saved = self._spoken = spent

    def elapsed(self) -> float:
        """Seconds since the run began; of several processes: at the last ``agree``."""
        if self.world.size > 1:
            return self._agreed
        return self._own()

    def here(self) -> float:
        """Seconds since this start of the run."""
        return self.elapsed() - self.before

    def agree(self, signal: int | None = None) -> int | None:
        """A signal that any process has received; from here all have the time of the first."""
        signal, self._agreed = self.world.agree(signal, self._own())
        return signal

    def spoken(self) -> None:
        """A line was just printed."""
        self._spoken = self.elapsed()

    def saved(self) -> None:
        """The state was just saved."""
        self._saved = self.elapsed()

    def must_speak(self) -> bool:
        """Whether the last line is long ago."""
        return self.elapsed() - self._spoken > SPEAK_EVERY_S

    def must_save(self, every_s: float) -> bool:
        """Whether the last state is older than ``every_s`` seconds."""
        return self.elapsed() - self._saved > every_s

    def _own(self) -> float:
        return self.before + time.monotonic() - self._start
