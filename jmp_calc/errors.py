"""Errors that users see: one fact, one place, one action; each class has its exit code.

The command line prints ``error: <fact>``, ``where: <place>`` and ``hint: <action>`` and leaves with
``exit_code``; Python users get the same three parts as attributes.
"""

from __future__ import annotations


class JMPError(Exception):
    """Base of all errors raised on purpose; exit code 1 (internal)."""

    exit_code = 1

    def __init__(self, fact: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.fact, self.where, self.hint = fact, where, hint
        super().__init__(" ".join(part for part in (fact, where and f"[{where}]", hint) if part))


def error_lines(fact: str, where: str | None, hint: str | None) -> list[str]:
    """What a command prints about an error: one line each for what is wrong, where, and what to do."""
    return [f"{label}: {text}" for label, text in (("error", fact), ("where", where), ("hint", hint)) if text]


class UsageError(JMPError):
    """Options or configuration that contradict each other or cannot be understood; exit code 2."""

    exit_code = 2


class NotConvergedError(JMPError):
    """A calculation finished without reaching its tolerance; exit code 3."""

    exit_code = 3


class ClimbedError(NotConvergedError):
    """A relaxation that ended above its start."""


class BadInputError(JMPError):
    """A structure or data file that cannot be right; exit code 4."""

    exit_code = 4


class BadStructureError(BadInputError):
    """One structure that no model can evaluate (no atoms, NaN, zero cell, overlapping atoms)."""


class ModelError(JMPError):
    """A model, head, licence or checksum problem; exit code 5."""

    exit_code = 5


class OutOfMemoryError(JMPError):
    """The machine or device has not enough memory; exit code 6."""

    exit_code = 6


class GuardError(JMPError):
    """A dynamics guard stopped the run after saving the last good frame; exit code 7."""

    exit_code = 7


class JMPWarning(UserWarning):
    """Every warning of this package, so that users can filter them."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, in Python or in torch, which on a CPU raises a plain RuntimeError."""
    name, message = type(error).__name__, str(error)
    return isinstance(error, MemoryError) or name == "OutOfMemoryError" or "can't allocate memory" in message
