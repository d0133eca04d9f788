"""One command at work: its output folder, its summary, its warnings and its exit code."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import click

from ..errors import JMPError, JMPWarning, NotConvergedError, is_out_of_memory
from ..io.outdir import Claim, HeldFolder, check_folder, held, with_prefix
from ..io.records import STATE
from ..io.summary import SUMMARY_FILE, InputFile, OutputFile, Summary, environment, file_sha256, write_summary
from .options import Common

if TYPE_CHECKING:
    from ..io.structures import PickedFrame


class Numbers(Protocol):
    """Result of a workflow that has numbers."""

    def to_dict(self) -> dict[str, Any]:
        """Numbers by name, with units in the names."""


class Written(Numbers, Protocol):
    """Result of a workflow that has numbers and files."""

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "", plot: bool = True) -> list[Path]:
        """Write all files; their paths."""


class CommandRun:
    """One command at work: locks the folder, keeps summary.yaml, records warnings and the exit code.

    ``inputs`` are files (or names of models) that the run reads: --overwrite removes none of them.
    ``redoes``: the command computes everything again, so that what it left unfinished is replaced.
    ``trains``: model and head are where a training starts, new weights too, not what computes.
    Set ``results``, ``model`` and call ``add_input`` / ``add_output`` inside the ``with`` block; leaving it,
    normally or by an error, writes the final summary.
    """

    def __init__(
        self,
        common: Common,
        command: str,
        *,
        outputs: Sequence[str],
        settings: Mapping[str, Any],
        inputs: Sequence[str | Path | None] = (),
        resume: bool = False,
        resume_hint: str = "",
        redoes: bool = False,
        trains: bool = False,
    ) -> None:
        self.common, self.command, self.settings = common, command, settings
        names = [with_prefix(name, common.prefix) for name in (*outputs, SUMMARY_FILE)]
        read = [Path(path) for path in (*inputs, common.model, common.compiled) if path is not None]
        self.claim = Claim(
            common.out,
            names,
            names[-1],
            resume,
            common.overwrite,
            inputs=read,
            resume_hint=resume_hint,
            redone=command if redoes else "",
            nested=True,
        )
        self._trains = trains
        self.results: Mapping[str, Any] = {}
        self.model: Mapping[str, Any] = {}
        self.warnings: list[str] = []
        self._inputs: list[InputFile] = []
        self._outputs: list[OutputFile] = []
        self._stack = ExitStack()

    def path(self, name: str) -> Path:
        """Path of an output file, with the prefix."""
        return self.common.out / with_prefix(name, self.common.prefix)

    def add_input(self, path: str | Path, *, n_frames: int | None = None, formula: str | None = None) -> None:
        """Record a file that was read, with its hash."""
        self._inputs.append(InputFile(str(path), file_sha256(path), n_frames, formula))

    def add_structure(self, picked: PickedFrame) -> None:
        """Record the file of a structure, and say which of its frames was taken where none was named."""
        self.add_input(picked.path, n_frames=1, formula=picked.atoms.get_chemical_formula())
        if picked.message is not None:
            self.common.say(picked.message)

    def add_output(self, path: str | Path, what: str) -> None:
        """Record a file that was written; it is hashed when the run ends."""
        self._outputs.append(OutputFile(str(path), what))

    def write_result(
        self, result: Written, lines: Sequence[str], *, plot: bool, what: Callable[[Path], str] | None = None
    ) -> None:
        """The end of most commands: numbers into the summary, files into the folder, ``lines`` to the user.

        ``what`` says what a file holds; by default its name does.
        """
        self.results = result.to_dict()
        for path in result.write(self.common.out, prefix=self.common.prefix, plot=plot):
            self.add_output(path, path.stem.replace("_", " ") if what is None else what(path))
        self._tell(lines)

    def record(self, result: Numbers, outputs: Iterable[str], lines: Sequence[str]) -> None:
        """The end of commands whose workflow has written its files: numbers and files into the summary,
        ``lines`` to the user."""
        self.results = result.to_dict()
        self.add_outputs(outputs)
        self._tell(lines)

    def _tell(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.common.say(line)
        self.common.say(f"wrote {self.common.out}")

    def say_if_new(self, resume: bool) -> None:
        """Tell who wants to go on that the folder holds nothing to go on with."""
        if resume and not self.path(STATE).exists():
            self.common.say("there is nothing to go on with: this is a new run")

    def add_outputs(self, names: Iterable[str]) -> None:
        """Record those of these outputs that are there."""
        for path in map(self.path, names):
            if path.is_file():
                self.add_output(path, path.stem.replace("_", " "))

    def check(self) -> None:
        """For --dry-run: errors of the output folder, as entering would raise them; nothing is created or
        removed."""
        check_folder(self.common.out)
        self.claim.check()

    def __enter__(self) -> CommandRun:
        if self.claim.clears and self.common.model and not self._trains:
            self.common.check_model()  # a name that is wrong costs no earlier results
        self.folder = self._stack.enter_context(held(self.claim))
        try:
            self._started, self._clock = time.strftime("%Y-%m-%dT%H:%M:%S%z"), time.monotonic()
            self._stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("always", JMPWarning)  # each text is shown once, see _show_warning
            warnings.showwarning = self._show_warning  # type: ignore[assignment]
            self._write("running", None, None)
        except BaseException:
            self._stack.close()
            raise
        return self

    @contextmanager
    def of(self, first: bool) -> Iterator[HeldFolder | Path]:
        """The output folder while the block lasts, held by the first process of a run."""
        if not first:
            yield self.common.out
            return
        with self:
            yield self.folder

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            status, code = outcome(error)
            try:
                summary = self._write(status, code, error)
            except OSError:
                if error is None:
                    raise
                return  # what ended the run says more than the disk on which its summary does not fit
            if self.common.json:
                click.echo(json.dumps(summary.to_dict(), indent=1))

    def _write(self, status: str, code: int | None, error: BaseException | None) -> Summary:
        ended = status != "running"
        outputs = tuple(
            OutputFile(o.path, o.what, file_sha256(o.path) if ended and Path(o.path).is_file() else None)
            for o in self._outputs
        )
        summary = Summary(
            command=self.command,
            started=self._started,
            status=status,
            exit_code=code,
            finished=time.strftime("%Y-%m-%dT%H:%M:%S%z") if ended else None,
            wall_s=round(time.monotonic() - self._clock, 3) if ended else None,
            inputs=tuple(self._inputs),
            model=self.model,
            settings=self.settings,
            environment=environment(self.model.get("device", self.common.device)),
            results=self.results,
            warnings=tuple(self.warnings),
            outputs=outputs,
            error=None if error is None else f"{type(error).__name__}: {error}",
        )
        write_summary(self.path(SUMMARY_FILE), summary)
        return summary

    def _show_warning(self, message: Warning | str, *_: Any) -> None:
        text = str(message)
        if text not in self.warnings:
            self.warnings.append(text)
            self.common.say(f"warning: {text}")


def outcome(error: BaseException | None) -> tuple[str, int]:
    """Status word and exit code of a run that ended with ``error``."""
    if error is None:
        return "ok", 0
    if isinstance(error, NotConvergedError):
        return "not-converged", error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", getattr(error, "exit_code", 130)
    if isinstance(error, JMPError):
        return "failed", error.exit_code
    if is_out_of_memory(error):
        return "failed", 6
    return "failed", 1


def model_record(calculator: Any) -> dict[str, Any]:
    """What summary.yaml says about the model: name, hash, head, licence, precision."""
    from ..io.summary import plain

    info = getattr(calculator, "info", None)
    if info is None:
        return {"name": type(calculator).__name__}
    keys = (
        "name",
        "sha256",
        "head",
        "head_choice",
        "dtype",
        "device",
        "licence",
        "format_version",
        "path",
        "level_of_theory",
        "uncertainty",
        "committee",
    )
    empty = (None, "", ())
    record = {key: plain(getattr(info, key)) for key in keys if getattr(info, key, None) not in empty}
    added = getattr(calculator, "dispersion", None)
    return record if added is None else {**record, "dispersion": added}
