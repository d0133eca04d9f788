"""Models with a name: where each comes from, its licence, and what is known about its file."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelError
from ..io.regular import exists, read_bounded
from ..io.schema import parse
from ..machine.home import NO_HOME, has_home

_PACKAGE = Path(__file__).parent
MAX_REGISTRY_BYTES = 1 << 20


@dataclass(frozen=True)
class RegistryEntry:
    """One named model; exactly one of ``url`` and ``file`` is set."""

    summary: str
    licence: str
    url: str | None = None
    file: str | None = None
    """Path inside the package, for bundled models."""
    size: int | None = None
    """Bytes; None: not known for certain."""
    sha256: str | None = None

    @property
    def bundled(self) -> Path | None:
        """Path of the file inside the package; None if the model is fetched."""
        return _PACKAGE / self.file if self.file else None


def load_registry() -> dict[str, RegistryEntry]:
    """Name -> entry from the package, with entries of ``registry.toml`` in the cache folder (mirrors) on top.

    Raises:
        ModelError: a registry file is not valid.
    """
    entries = _read(_PACKAGE / "registry.toml")
    mirror = home() / "registry.toml"
    return entries | _read(mirror) if exists(mirror) else entries


def home() -> Path:
    """Folder of fetched models: ``JMP_CALC_HOME``, else the user's cache folder.

    For a user without a home folder it lies in NO_HOME: nothing is there.
    """
    chosen = os.environ.get("JMP_CALC_HOME")
    if chosen:
        return Path(os.path.expanduser(chosen))
    import platformdirs

    if not has_home() and "XDG_CACHE_HOME" not in os.environ:
        return Path(NO_HOME, ".cache", "jmp-calc")
    return Path(platformdirs.user_cache_dir("jmp-calc", appauthor=False))


def require_home() -> None:
    """ModelError for a user without a home folder who has not named a folder for models."""
    if home().is_relative_to(NO_HOME):
        raise ModelError(
            "There is no home folder to keep models in (no HOME, no entry of this user).",
            where=str(home()),
            hint="set JMP_CALC_HOME to a folder that you can write to",
        )


def _read(path: Path) -> dict[str, RegistryEntry]:
    try:
        data = tomllib.loads(read_bounded(path, MAX_REGISTRY_BYTES).decode("utf-8"))
    except OSError as err:
        raise ModelError(f"The model registry cannot be read: {err.strerror}.", where=str(path)) from err
    except (ValueError, RecursionError) as err:
        raise ModelError(f"The model registry is damaged: {err}.", where=str(path)) from err
    entries = {}
    for name, value in data.items():
        entry = parse(RegistryEntry, value, f"{path}, [{name}]")
        if (entry.url is None) == (entry.file is None) or not re.fullmatch(
            r"[a-z0-9][a-z0-9._-]{0,63}", name
        ):
            raise ModelError(
                "A registry entry needs a plain name and either url or file.", where=f"{path}, [{name}]"
            )
        if entry.file and (Path(entry.file).is_absolute() or ".." in Path(entry.file).parts):
            raise ModelError("A registry file must lie inside the package.", where=f"{path}, [{name}]")
        entries[name] = entry
    return entries
