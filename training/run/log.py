"""train.log: what a run said, with the time, its warnings and how it ended, over all restarts."""

from __future__ import annotations

import os
import platform
import time
import warnings
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from jmp_calc.errors import JMPError, JMPWarning, error_lines
from jmp_calc.io.progress import Say, silent

LOG_FILE = "train.log"


class RunLog:
    """Passes lines on to ``say`` and keeps them in train.log with the time; also warnings and how the run
    ended.

    A log that goes on (``resumed``) is appended to, else an earlier one is replaced.
    """

    def __init__(self, folder: Path, say: Say, *, resumed: bool) -> None:
        self.path, self.say, self.resumed = folder / LOG_FILE, say, resumed
        self._warned: set[str] = set()

    def __call__(self, text: str) -> None:
        """One line for the user and for the log."""
        self.say(text)
        self._write(text)

    def _write(self, text: str) -> None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        # Opened for every line, so that a killed process and a full disk lose one line at most.
        with open(self.path, "a", encoding="utf-8") as file:
            file.write("".join(f"{stamp} {line}\n" for line in text.splitlines() or [""]))

    def __enter__(self) -> RunLog:
        if not self.resumed:
            self.path.unlink(missing_ok=True)
        self._write(f"{'resumed' if self.resumed else 'started'} on {platform.node()}, process {os.getpid()}")
        self._show = warnings.showwarning
        warnings.showwarning = self._show_warning  # type: ignore[assignment]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        warnings.showwarning = self._show
        if isinstance(error, JMPError):
            lines = error_lines(error.fact, error.where, error.hint)
        else:
            lines = ["ended" if error is None else f"{type(error).__name__}: {error}"]
        with suppress(OSError):  # a full disk is told on the terminal
            self._write("\n".join(lines))

    def _show_warning(self, message: Warning | str, category: type[Warning], *rest: Any) -> None:
        if issubclass(category, JMPWarning) and str(message) not in self._warned:
            self._warned.add(str(message))
            self._write(f"warning: {message}")
        self._show(message, category, *rest)


__all__ = ["LOG_FILE", "RunLog", "silent"]
