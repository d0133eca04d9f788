"""Draw samples with several processes, leave out near copies, and say what came out."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..io.atomic import replacing
from ..io.outdir import claimed, with_prefix
from ..io.progress import Progress
from ..io.write import write_extxyz
from .copies import Copies, subject
from .parts import NO_SAMPLE, Part, claim_parts, divided, make_part
from .rdkit_extra import quiet_rdkit, require_rdkit
from .settings import MOLECULES, SampleSettings
from .small import isolated_atoms

if TYPE_CHECKING:
    from ase import Atoms

OUTPUTS = ("samples.extxyz",)


@dataclass(frozen=True)
class SampleResult:
    """Samples, and what they are."""

    frames: tuple[Atoms, ...]
    """In the order of their numbers, isolated atoms first."""
    kinds: Mapping[str, int]
    """Frames of each kind."""
    distinct: int
    """Different molecular graphs, or pairs of composition and prototype; dimers and single atoms left out."""
    near_copies: int
    """Samples that were left out because an earlier one is nearly the same."""
    missing: int
    """Samples for which no attempt succeeded."""
    refused: Mapping[str, int]
    """Attempts that gave no sample, by their reason; another one followed each."""
    settings: SampleSettings

    def __repr__(self) -> str:
        return f"<SampleResult of {len(self.frames)} frames, {self.distinct} distinct {self.settings.what}>"

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml."""
        total = max(len(self.frames), 1)
        elements = Counter(name for atoms in self.frames for name in set(atoms.get_chemical_symbols()))
        return {
            "n_frames": len(self.frames),
            "n_atoms": sum(map(len, self.frames)),
            "distinct": self.distinct,
            "kinds": {kind: {"frames": n, "share": round(n / total, 4)} for kind, n in self.kinds.items()},
            "elements": dict(elements.most_common()),
            "near_copies": self.near_copies,
            "missing": self.missing,
            "refused_attempts": dict(self.refused),
        }

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "") -> list[Path]:
        """Write samples.extxyz; returns its path."""
        path = Path(folder) / with_prefix(OUTPUTS[0], prefix)
        with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
            write_extxyz(stream, self.frames)
        return [path]


def sample_set(
    settings: SampleSettings,
    *,
    processes: int = 1,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    quiet: bool = True,
) -> SampleResult:
    """Draw all samples; with ``out``, go on with what a stopped run left there and write samples.extxyz.

    Raises:
        UsageError: RDKit is missing, or a process ended.
    """
    if settings.what == MOLECULES:
        require_rdkit()
    if processes < 1:
        raise UsageError(f"The number of processes must be at least 1, got {processes}.")
    with claimed(out, [with_prefix(OUTPUTS[0], prefix)]), _parts_folder(out, prefix) as folder:
        claim_parts(folder, settings)
        parts = divided(folder, settings)
        _make(settings, [part for part in parts if not part.is_done()], len(parts), processes, quiet)
        result = _gathered(settings, parts)
        if out is not None:
            result.write(out, prefix=prefix)
            shutil.rmtree(folder)
    return result


@contextmanager
def _parts_folder(out: str | os.PathLike[str] | None, prefix: str) -> Iterator[Path]:
    """Beside the output, where a later run finds it; else a temporary folder."""
    if out is not None:
        yield Path(out) / with_prefix("samples.parts", prefix)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "samples.parts"


def _make(settings: SampleSettings, todo: Sequence[Part], total: int, processes: int, quiet: bool) -> None:
    """Write the parts that are missing."""
    with Progress(f"{settings.what}, parts", total, initial=total - len(todo), quiet=quiet) as progress:
        if processes == 1:
            for part in todo:
                make_quietly(settings, part)
                progress.update()
            return
        with ProcessPoolExecutor(processes, get_context("spawn"), _follow_parent) as pool:
            try:
                for future in as_completed([pool.submit(make_quietly, settings, part) for part in todo]):
                    future.result()
                    progress.update()
            except BrokenProcessPool as error:
                raise UsageError(
                    "A process that draws samples has ended.",
                    hint='a script needs `if __name__ == "__main__":` around its work',
                ) from error
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def make_quietly(settings: SampleSettings, part: Part) -> None:
    """``make_part`` without what RDKit says about graphs that are refused."""
    if settings.what != MOLECULES:
        make_part(settings, part)
        return
    with quiet_rdkit():
        make_part(settings, part)


def _follow_parent() -> None:
    """In a helper: the parent handles Ctrl-C, and when it is gone, so is the helper."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _gathered(settings: SampleSettings, parts: Sequence[Part]) -> SampleResult:
    """All samples in order without near copies; isolated atoms before the first sample of all."""
    frames = isolated_atoms(sorted(settings.numbers)) if settings.start == 0 else []
    for atoms in frames:
        atoms.info["sample_id"] = f"{settings.what}-{settings.seed}-isolated-{atoms.get_chemical_formula()}"
    copies, near, refused = Copies(), 0, Counter[str]()
    for part in parts:
        found, counts = part.read()
        refused += counts
        for atoms in found:
            if copies.is_new(atoms):
                frames.append(atoms)
            else:
                near += 1
    missing = refused.pop(NO_SAMPLE, 0)
    kinds = Counter(str(atoms.info["sample_kind"]) for atoms in frames)
    return SampleResult(
        tuple(frames),
        dict(kinds.most_common()),
        _distinct(frames),
        near,
        missing,
        dict(refused.most_common()),
        settings,
    )


def _distinct(frames: Sequence[Atoms]) -> int:
    """Different molecules (each of a pair by itself), or pairs of composition and prototype."""
    found: set[str] = set()
    for atoms in frames:
        if atoms.info["sample_kind"] not in ("dimer", "isolated"):
            name = subject(atoms)
            found |= set(name.split(".")) if "graph" in atoms.info else {name}
    return len(found)
