"""Rules for output folders: never overwrite silently, never share between two running jobs, know a crash.

A folder is locked while a command writes into it; ``summary.yaml`` says ``running`` until the command ends,
so that what a killed job left behind is recognised.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from .atomic import remove_partial
from .regular import exists
from .summary import SUMMARY_FILE, read_summary

LOCK_NAME = ".jmp-calc.lock"


@dataclass(frozen=True)
class Claim:
    """What a command wants of its output folder."""

    folder: Path
    names: Sequence[str]
    """Names of the files that it writes."""
    summary: str = SUMMARY_FILE
    """Name of the summary among them."""
    resume: bool = False
    """Go on with what is there."""
    overwrite: bool = False
    """Remove earlier outputs first."""
    inputs: Sequence[Path] = ()
    """Files that it reads: none of them is removed."""
    resume_hint: str = ""
    redone: str = ""
    """Command whose earlier outputs may be replaced if that run failed; empty: of none."""
    nested: bool = False
    """Whether what runs inside may lock the folder again."""

    def __post_init__(self) -> None:
        refuse_both(self.resume, self.overwrite)

    @property
    def clears(self) -> bool:
        """Whether what earlier runs left is removed first."""
        return not self.resume and (self.overwrite or bool(self.redone))

    def check(self) -> None:
        """UsageError for earlier outputs that may not be replaced; nothing is created or removed."""
        if self.resume:
            return
        if not self.overwrite:
            check_free(
                self.folder,
                self.names,
                summary=self.summary,
                resume_hint=self.resume_hint,
                redone=self.redone,
            )
        if self.clears:
            check_inputs_kept(self.folder, self.names, self.inputs)


def refuse_both(resume: bool, overwrite: bool) -> None:
    """UsageError for a run that is to go on and to be replaced."""
    if resume and overwrite:
        raise UsageError("--resume and --overwrite contradict each other.", hint="leave one of them out")


@dataclass(frozen=True)
class HeldFolder:
    """An output folder that this process has locked and cleared, for the one who writes into it."""

    path: Path


@contextmanager
def held(claim: Claim) -> Iterator[HeldFolder]:
    """Make the folder, lock it and clear it of earlier outputs; UsageError where the claim does not allow
    that."""
    folder = make_folder(claim.folder)
    with locked(folder, nested=claim.nested):
        remove_partial(folder, claim.names)
        claim.check()
        if claim.clears:
            remove_old(folder, claim.names)
        yield HeldFolder(folder)


def check_prefix(prefix: str) -> None:
    """UsageError for a prefix of file names that is a path."""
    if "/" in prefix or "\\" in prefix:
        raise UsageError(
            "The prefix is a name, not a path.", where=prefix, hint="choose the folder with -o DIR (out=)"
        )


def with_prefix(name: str, prefix: str) -> str:
    """Name of an output file; UsageError for a prefix that is a path."""
    check_prefix(prefix)
    return f"{prefix}-{name}" if prefix else name


def make_folder(folder: Path) -> Path:
    """Create ``folder`` and prove that it can be written to; UsageError otherwise."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".jmp-calc.probe"
        probe.write_bytes(b"")
        probe.unlink()
    except FileExistsError as err:
        raise UsageError(
            "The output path is a file.", where=str(folder), hint="choose another -o DIR"
        ) from err
    except NotADirectoryError as err:
        raise UsageError(
            "A part of the output path is a file.", where=str(folder), hint="choose another -o"
        ) from err
    except OSError as err:
        hint = "free some space" if err.errno == errno.ENOSPC else "choose a writable folder with -o DIR"
        raise UsageError(
            f"Cannot write into the output folder: {err.strerror}.", where=str(folder), hint=hint
        ) from err
    return folder


def check_folder(folder: Path) -> None:
    """UsageError where ``make_folder`` would fail; nothing is created."""
    make_folder(next(path for path in (folder, *folder.absolute().parents) if path.exists()))


def check_free(
    folder: Path,
    names: Iterable[str],
    *,
    summary: str = SUMMARY_FILE,
    resume_hint: str = "",
    redone: str = "",
) -> None:
    """UsageError when one of ``names`` is already in ``folder``; says whether a crashed run left it.

    ``redone`` is a command that computes everything again: what it left unfinished is no obstacle. The
    caller holds the lock of the folder, so that a run whose summary says "running" was killed.
    """
    found = sorted(name for name in names if (folder / name).exists())
    if not found:
        return
    old = read_summary(folder / summary) or {}
    unfinished = old.get("status") in ("running", "failed", "interrupted")
    if unfinished and (found == [summary] or (redone and old.get("command") == redone)):
        return  # that run ended before it wrote any result, or had none that this one does not compute
    hint = "--overwrite replaces them, -o DIR writes elsewhere" + (f", {resume_hint}" if resume_hint else "")
    if old.get("status") == "running":
        command, started = old.get("command", "?"), old.get("started", "?")
        fact = (
            f"The folder holds the partial output of a '{command}' run that did not finish "
            f"(started {started})."
        )
    else:
        fact = f"The output exists already: {', '.join(found[:4])}{' …' if len(found) > 4 else ''}."
    raise UsageError(fact, where=str(folder), hint=hint)


def check_file_free(target: Path, overwrite: bool) -> None:
    """UsageError when ``target``, the one file of a command, exists and may not be replaced, or has no
    folder."""
    if target.is_dir():
        raise UsageError("The output is a folder, not a file.", where=str(target), hint="name a file with -o")
    if target.exists() and not overwrite:
        raise UsageError(
            "The output exists already.", where=str(target), hint="--overwrite replaces it, or choose -o"
        )
    if not target.parent.is_dir():
        raise UsageError(
            "The folder of the output does not exist.", where=str(target.parent), hint="make it, or choose -o"
        )


def check_inputs_kept(folder: Path, names: Iterable[str], inputs: Iterable[Path]) -> None:
    """UsageError when one of ``inputs``, which the run reads, is among the outputs that it would remove
    first."""
    old = [path for path in (folder / name for name in names) if path.exists()]
    for given in inputs:
        if exists(given) and any(given.samefile(path) for path in old):
            raise UsageError(
                "Clearing the output folder would remove a file that this run reads; nothing was removed.",
                where=str(given),
                hint="choose another output folder with -o DIR",
            )


def remove_old(folder: Path, names: Iterable[str]) -> None:
    """Delete earlier outputs, so that files of two runs never lie side by side."""
    for name in names:
        path = folder / name
        if path.is_file() or path.is_symlink():
            path.unlink()


@contextmanager
def locked(folder: Path, *, nested: bool = False) -> Iterator[None]:
    """Hold the folder for this process; UsageError when another running job holds it.

    ``nested``: a thread that holds the folder by a nested lock may take it again, as a command does that
    calls a function which locks its output folder.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder.resolve() / LOCK_NAME, is_singleton=nested)
    try:
        lock.acquire(timeout=0)
    except Timeout as err:
        raise UsageError(
            "Another jmp-calc job is writing into this folder.",
            where=str(folder),
            hint="wait, or choose another -o",
        ) from err
    try:
        yield
    finally:
        lock.release()


@contextmanager
def claimed(folder: str | os.PathLike[str] | None, names: Iterable[str] = ()) -> Iterator[None]:
    """Create and hold the output folder of a Python function, and take away what a killed process left of
    ``names``; nothing for None.

    Raises:
        UsageError: another job writes into the folder, or nobody can.
    """
    if folder is None:
        yield
        return
    wanted = tuple(names)  # a prefix that is a path is refused before the folder is made
    with locked(make_folder(Path(folder)), nested=True):
        remove_partial(Path(folder), wanted)
        yield
