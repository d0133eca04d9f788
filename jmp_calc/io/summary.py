"""summary.yaml: what was run, on what, with what, and what came out; one schema for every command.

Written atomically (temporary file and rename), first with ``status: running`` and again at the end, so that a
folder left by a crash can be told from a finished one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from .atomic import replacing

SUMMARY_FILE = "summary.yaml"
"""What every command says about its run, in its output folder."""

STATUSES = ("running", "ok", "not-converged", "failed", "interrupted")


@dataclass(frozen=True)
class InputFile:
    """One file that was read."""

    path: str
    sha256: str | None = None
    n_frames: int | None = None
    formula: str | None = None


@dataclass(frozen=True)
class OutputFile:
    """One file that was written."""

    path: str
    what: str
    sha256: str | None = None


@dataclass(frozen=True)
class Summary:
    """Content of summary.yaml, in the order of the file."""

    command: str
    started: str
    status: str = "running"
    exit_code: int | None = None
    finished: str | None = None
    wall_s: float | None = None
    inputs: tuple[InputFile, ...] = ()
    model: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    outputs: tuple[OutputFile, ...] = ()
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, ready for YAML and JSON; the version first."""
        return {"jmp_calc_version": _version("jmp-calc"), **finite(plain(dataclasses.asdict(self)))}


def finite(value: Any) -> Any:
    """Copy of what ``plain`` gives in which numbers that are not finite are None: JSON has no form for them,
    and as results they are no numbers to go on with. Settings that are kept, such as an infinite temperature
    of a mixture, stay what they are elsewhere."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def plain(value: Any) -> Any:
    """Copy of ``value`` made of dict, list, str, int, float, bool and None (numpy and paths converted)."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if value is None or (isinstance(value, (str, bool, int, float)) and type(value).__module__ == "builtins"):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def environment(device: str | None = None) -> dict[str, Any]:
    """Versions and machine, read from package metadata (imports nothing heavy)."""
    names = ("torch", "ase", "phonopy", "matscipy", "numpy")
    found = {name: _version(name) for name in names}
    return {"python": platform.python_version(), **found, "device": device, "platform": platform.platform()}


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_summary(path: str | os.PathLike[str], summary: Summary) -> None:
    """Write ``summary`` as YAML, atomically."""
    import yaml

    text = yaml.safe_dump(summary.to_dict(), sort_keys=False, allow_unicode=True, width=110)
    write_text_atomic(path, text)


def read_summary(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The mapping in a summary.yaml, or None when there is none or it cannot be read."""
    import yaml

    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    return data if isinstance(data, dict) else None


def write_text_atomic(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file so that readers see the old or the new content, never a part."""
    write_bytes_atomic(path, text.encode("utf-8"))


def write_bytes_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a binary file so that readers see the old or the new content, never a part."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def command_line() -> str:
    """The command as typed."""
    return " ".join(sys.argv)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
