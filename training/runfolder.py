"""The folder of a run: whether it can be resumed, and its log.

``train.log`` holds every line that is printed, with the time, and goes on over restarts.
"""

from __future__ import annotations

import os
import platform
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from jmp_calc.errors import JMPError, JMPWarning, UsageError, error_lines
from jmp_calc.io.summary import read_summary

from .run_state import STATE_FILE

Say = Callable[[str], None]
LOG_FILE = "train.log"
SETTINGS_FILES = ("config.yaml", "recipe.yaml")
"""Written by fine-tuning and by pre-training before the first step."""


def has_state(folder: Path, say: Say) -> bool:
    """Whether a run can go on here; False, with a line for the user, if it was ended before its first saved state.

    UsageError if no run has begun here. To be asked before anything is written into the folder.
    """
    if (folder / STATE_FILE).is_file():
        return True
    stopped = (read_summary(folder / "summary.yaml") or {}).get("status") in ("running", "interrupted")
    if stopped or any((folder / name).is_file() for name in SETTINGS_FILES):
        say("the earlier run was ended before its first saved state: this one starts at the beginning")
        return False
    raise UsageError("There is no run to resume here.", where=str(folder), hint="start it without --resume")


class RunLog:
    """Passes lines on to ``say`` and keeps them in train.log with the time; also warnings and how the run ended.

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
