"""From a name or a path to a loaded model.

Example: ``resolve("jmp-xs")``, ``resolve("run/best.safetensors")``, ``resolve("jmp-l.pt", weights="raw")``.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import sys
from pathlib import Path

from ..errors import ModelError
from ..io.regular import exists, open_regular
from . import cache
from .container import LoadedModel, load_model
from .registry import RegistryEntry, load_registry

_SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".model", ".bin")


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """A file on this machine that a name or a path stands for."""

    path: Path
    name: str | None = None
    """None: given as a path."""
    entry: RegistryEntry | None = None
    sha256: str | None = None
    published: bool = True

    @property
    def official(self) -> bool:
        """Whether to read it as an official checkpoint (zip archive) and not as one of our files.

        Raises:
            ModelError: the file cannot be opened.
        """
        try:
            with open_regular(self.path) as file:
                head = file.read(9)
        except OSError as err:
            raise ModelError(f"Cannot open the model file: {err.strerror}.", where=str(self.path)) from err
        ours = head[8:] == b"{" or self.path.suffix == ".safetensors"
        return head[:2] == b"PK" or not ours


def resolve(name_or_path: str | os.PathLike[str], *, weights: str = "ema") -> LoadedModel:
    """Load a model by name (fetched if needed), from one of our files, or from an official checkpoint.

    Raises:
        ModelError: unknown name, no such file, offline, failed check, or an unusable file.
    """
    found = locate(name_or_path)
    if found.official:
        from .official import read_official

        loaded = read_official(found.path, weights, sha256=found.sha256)
    elif weights != "ema":
        raise ModelError(
            f"weights={weights!r} exist only in official .pt checkpoints.", where=str(found.path)
        )
    else:
        loaded = load_model(found.path)
    if found.name is None or found.entry is None:
        return loaded
    notes = loaded.card.notes
    if not found.published:
        notes += ("this file was added by hand and is not known to be the published one",)
    card = dataclasses.replace(loaded.card, name=found.name, licence=found.entry.licence, notes=notes)
    return dataclasses.replace(loaded, card=card)


def locate(name_or_path: str | os.PathLike[str], *, may_fetch: bool = True) -> ModelFile:
    """The file that a name or path stands for; a named model is fetched first unless ``may_fetch`` is
    False.

    Raises:
        ModelError: no such name or file, a folder, or not on this machine.
    """
    text = os.fspath(name_or_path)
    registry = load_registry()
    if text in registry:
        entry = registry[text]
        file = cache.checked(text, entry)
        if file is None and not may_fetch:
            raise _not_here(text)
        if file is None:
            file = fetch_by_name(text)
        return ModelFile(file.path, text, entry, file.sha256, file.published)
    path = Path(os.path.expanduser(text))
    if exists(path) and path.is_dir():
        inside = sorted(item.name for item in path.glob("*.safetensors"))
        hint = (
            f"give one of its files: {', '.join(inside[:5])}" if inside else "give the path of a model file"
        )
        raise ModelError("The model is a folder, not a file.", where=str(path), hint=hint)
    if exists(path):
        return ModelFile(path)
    raise _unknown(text, path, list(registry))


def refuse_fetch(name: str) -> None:
    """ModelError for a published model that is not on this machine; what is no such name passes."""
    entry = load_registry().get(name)
    if entry is not None and cache.checked(name, entry) is None:
        raise _not_here(name)


def _not_here(name: str) -> ModelError:
    return ModelError(f"{name} is not on this machine.", hint=f"run: jmp-calc models fetch {name}")


def named(name: str) -> RegistryEntry:
    """The registry entry of ``name``; ModelError with the nearest names if there is none."""
    registry = load_registry()
    if name not in registry:
        raise _unknown_name(name, list(registry))
    return registry[name]


def fetch_by_name(name: str) -> cache.CachedFile:
    """Fetch a named model with a progress bar on a terminal; says once what it does and under which
    licence."""
    entry = named(name)
    if cache.checked(name, entry) is None and entry.url is not None and not cache.offline():
        print(f"fetching {name} from {entry.url} (licence {entry.licence})", file=sys.stderr)
    bar = None

    def progress(done: int, total: int | None) -> None:
        nonlocal bar
        if bar is None:
            from tqdm import tqdm

            bar = tqdm(total=total, unit="B", unit_scale=True, desc=name, disable=not sys.stderr.isatty())
        bar.update(done - bar.n)

    try:
        return cache.fetch(name, entry, progress=progress)
    finally:
        if bar is not None:
            bar.close()


def _unknown(text: str, path: Path, names: list[str]) -> ModelError:
    """A mistyped path and a mistyped name get different advice."""
    if not (os.sep in text or "/" in text or path.suffix.lower() in _SUFFIXES):
        return _unknown_name(text, names)
    folder = path.parent
    if not exists(folder) or not folder.is_dir():
        return ModelError(f"No such model file: {text}.", where=f"the folder {folder} does not exist")
    near = difflib.get_close_matches(path.name, [item.name for item in folder.iterdir()], n=3)
    hint = (
        f"did you mean {' or '.join(str(folder / item) for item in near)}?" if near else f"look into {folder}"
    )
    return ModelError(f"No such model file: {text}.", hint=hint)


def _unknown_name(name: str, names: list[str]) -> ModelError:
    near = difflib.get_close_matches(name.lower(), names, n=3)
    hint = (
        f"did you mean {' or '.join(near)}?"
        if near
        else f"names are {', '.join(names)}; or give the path of a file"
    )
    return ModelError(f"Unknown model {name!r}.", hint=hint)
