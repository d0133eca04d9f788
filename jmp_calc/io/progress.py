"""Progress on stderr: a bar on a terminal, one plain line every few seconds in a log file, nothing when
quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

Say = Callable[[str], None]


def silent(text: str) -> None:
    """Says nothing."""


LINE_EVERY_S = 30.0


class Progress:
    """Counts steps of a run; use as a context manager.

    total may be None when the end is not known (relaxations).
    """

    def __init__(self, what: str, total: int | None, *, initial: int = 0, quiet: bool = True) -> None:
        self.what, self.total, self.done, self.quiet = what, total, initial, quiet
        self._bar: Any = None
        self._last = time.monotonic()

    def __enter__(self) -> Progress:
        if not self.quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                desc=self.what, total=self.total, initial=self.done, file=sys.stderr, leave=False
            )
        return self

    def update(self, note: str = "") -> None:
        """One more step is done; ``note`` is shown beside the count."""
        self.done += 1
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update()
        elif not self.quiet and time.monotonic() - self._last >= LINE_EVERY_S:
            self._last = time.monotonic()
            of = f"/{self.total}" if self.total is not None else ""
            print(f"{self.what}: {self.done}{of} {note}".rstrip(), file=sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def duration(seconds: float) -> str:
    """``h:mm:ss`` or ``m:ss``."""
    hours, rest = divmod(int(max(seconds, 0.0) + 0.5), 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"
