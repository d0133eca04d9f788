"""Label structures with any teacher, in several processes, so that a killed run can go on.

result = label(["pool.extxyz"], "tblite", out="labels", processes=2)
result.path, result.n_frames, result.left_out

A run has three steps that each begin from the files again: the input is planned in windows, what has no
answer yet is asked, and the answers are written beside their frames in the order of the input.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..errors import JMPWarning, ModelError
from ..io.outdir import check_free, claimed, with_prefix
from ..io.progress import Progress
from ..io.structures import iter_frames
from ..machine.cores import available_cores
from ..machine.signals import Interrupted
from .finish import KINDS, LABELLED, LEFT_OUT, Limits, Outcome, finish
from .labels import TeacherFacts
from .plan import Window, planned
from .run import Crew, answer_all
from .settings import LabelSettings
from .source import Source
from .store import Store
from .teacher_file import check_same, teacher_spec, write_teacher

if TYPE_CHECKING:
    from ase import Atoms

TEACHER = "teacher.yaml"
OUTPUTS = (LABELLED, LEFT_OUT, TEACHER)
PARTS = "parts"
"""Folder of the answers, until the run is done and after it: with --resume only what is new is computed."""
SCRATCH = "scratch"
"""Folder for the files of calculators that write some."""
RESUME_HINT = "--resume goes on with it"


@dataclass(frozen=True)
class LabelResult:
    """What a labelling run gave."""

    path: Path
    """The labelled frames, extended XYZ."""
    n_frames: int
    """Labelled frames of the input."""
    n_added: int
    """Isolated atoms that the input has not; they come last in the file."""
    left_out: Mapping[str, int]
    """Frames that are only in ``left_out.csv``, by the kind of reason."""
    examples: Mapping[str, str]
    """The first reason of each kind."""
    isolated: Mapping[str, float]
    """Energies of the free atoms, eV, by symbol."""
    elements: Mapping[str, int]
    """Labelled frames that hold an element, by symbol."""
    replaced: Mapping[str, int]
    """Labelled frames that had a label of another method (REF_energy, ...), by its key; it is left out."""
    facts: TeacherFacts
    seconds: float
    """Wall time of the computation of what had no answer yet."""
    n_computed: int
    """Frames of the input and isolated atoms that were asked in this run."""

    def __repr__(self) -> str:
        left = sum(self.left_out.values())
        return f"<LabelResult: {self.n_frames} frames by {self.facts.method}, {left} left out>"

    def require_some(self) -> None:
        """ModelError where nothing of the input has labels, with the first reason."""
        if self.n_frames == 0 and (self.left_out or self.n_added == 0):
            reasons = "; ".join(self.examples.values())
            raise ModelError(
                f"None of the {sum(self.left_out.values())} structures has labels.",
                where=str(self.path.parent),
                hint=f"see {LEFT_OUT}: {reasons}",
            )

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml."""
        return {
            "n_frames": self.n_frames,
            "n_isolated_added": self.n_added,
            "n_left_out": sum(self.left_out.values()),
            "left_out": {KINDS[kind]: count for kind, count in self.left_out.items()},
            "first_reasons": dict(self.examples),
            "isolated_ev": dict(self.isolated),
            "frames_with_element": dict(self.elements),
            "replaced": dict(self.replaced),
            "method": self.facts.method,
            "method_version": self.facts.version,
            "n_computed": self.n_computed,
            "seconds": round(self.seconds, 2),
            "frames_per_s": round(self.n_computed / self.seconds, 2) if self.n_computed else None,
        }


def label(
    structures: str | os.PathLike[str] | Sequence[str | os.PathLike[str] | Atoms],
    calculator: str,
    *,
    out: str | os.PathLike[str],
    method: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    head: str | None = None,
    kwargs: Mapping[str, Any] | None = None,
    python: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    processes: int = 1,
    timeout: float | None = 3600.0,
    isolated: bool = True,
    max_force: float | None = None,
    max_spread: float | None = None,
    index: str | None = None,
    resume: bool = False,
    retry: bool = False,
    prefix: str = "",
    quiet: bool = True,
) -> LabelResult:
    """Energy, forces and, of crystals, stress of structures by a teacher; the frames keep their order and
    their info, without labels of another method.

    Args:
        structures: files that ASE reads (FILE@INDEX, patterns, folders), or Atoms.
        calculator: teacher: tblite, ani2x, nequix, chgnet, sevennet, name or file of a JMP model, or
            package.module:factory of any ASE calculator.
        out: folder for labelled.extxyz, left_out.csv, teacher.yaml and the parts of an unfinished run.
        method: method of tblite or model of sevennet, or what the labels of a factory are called. Default:
            None.
        weights: file or folder of weights, for teachers whose package has none. Default: None.
        head: head of a JMP model, modality of a SevenNet model. Default: None.
        kwargs: arguments of a factory. Default: None.
        python: interpreter of an environment that has the teacher, numpy and ASE. Default: None.
        device: auto, cpu or cuda, for networks. Default: 'auto'.
        dtype: float32 or float64, for JMP models and ani2x. Default: 'float32'.
        processes: processes that label side by side. Default: 1.
        timeout: seconds for one structure; longer ones are left out. Default: 3600.0.
        isolated: add the isolated atoms of all elements that the input lacks. Default: True.
        max_force: leave out structures with a larger force on an atom, eV/Å. Default: None.
        max_spread: leave out structures on which an ensemble disagrees by more than this in the forces, eV/Å.
            Default: None.
        index: frames of each file: 0, -1, : or 0:10. Default: None.
        resume: go on with what a run left in the folder. Default: False.
        retry: with ``resume``, ask again about structures that failed. Default: False.
        prefix: put PREFIX- before every output file name. Default: ''.
        quiet: no progress on stderr. Default: True.

    Raises:
        UsageError: settings that do not go together, or an output folder with other labels.
        BadInputError: files that cannot be read.
        ModelError: the teacher cannot be loaded, dies all the time, or labels nothing at all.
    """
    settings = LabelSettings(
        calculator=calculator,
        method=method,
        weights=None if weights is None else os.fspath(weights),
        head=head,
        kwargs=dict(kwargs or {}),
        python=python,
        device=device,
        dtype=dtype,
        processes=processes,
        timeout=timeout,
        isolated=isolated,
        max_force=max_force,
        max_spread=max_spread,
        retry=retry,
    )
    source = Source(structures, index)
    folder = Path(out)
    names = [with_prefix(name, prefix) for name in OUTPUTS]
    with claimed(folder, names):
        if not resume:
            check_free(folder, names, resume_hint="resume=True goes on with it")
        result = run_label(source, settings, folder, prefix=prefix, resume=resume, quiet=quiet)
    result.require_some()
    return result


def run_label(
    source: Source, settings: LabelSettings, folder: Path, *, prefix: str, resume: bool, quiet: bool
) -> LabelResult:
    """``label`` into a folder that the caller holds; errors as there, but for labels of nothing."""
    parts, teacher = (folder / with_prefix(name, prefix) for name in (PARTS, TEACHER))
    if parts.exists() and not resume:
        shutil.rmtree(parts)
    total = sum(1 for _ in source.frames())  # a file that cannot be read is known before hours of work
    crew = _crew(settings, (folder / with_prefix(SCRATCH, prefix)).absolute())
    with crew.start(0) as first:
        facts = first.load()
        check_same(teacher, crew.spec, facts)
        write_teacher(teacher, crew.spec, facts)
        store = Store(parts, retry=settings.retry)
        with _Count(total, quiet=quiet) as count:
            answer_all(_plan(source, facts, settings), crew, first, store, count)
    earlier = count_frames(folder / with_prefix(LABELLED, prefix)) if resume else 0
    limits = Limits(settings.max_force, settings.max_spread)
    paths = (folder / with_prefix(LABELLED, prefix), folder / with_prefix(LEFT_OUT, prefix))
    outcome = finish(_plan(source, facts, settings), store, facts, limits, paths)
    now = outcome.frames + outcome.added
    if now + sum(outcome.left_out.values()) < earlier:
        text = f"{LABELLED} had {earlier} frames before, and has {now} now"
        warnings.warn(f"{text}: this run has another input", JMPWarning, stacklevel=2)
    return _result(paths[0], outcome, facts, count)


def count_frames(path: Path) -> int:
    """Frames of an extended XYZ file; 0 where there is none."""
    return sum(1 for _ in iter_frames(path)) if path.exists() else 0


def plan_of(source: Source, settings: LabelSettings) -> tuple[TeacherFacts, list[Window]]:
    """The teacher, and what it would be asked; errors as of ``label``."""
    with _crew(settings, Path(SCRATCH)).start(0) as worker:
        facts = worker.load()
    return facts, list(_plan(source, facts, settings))


def _crew(settings: LabelSettings, scratch: Path) -> Crew:
    threads = max(available_cores() // settings.processes, 1)
    return Crew(
        teacher_spec(settings), settings.python, settings.processes, threads, settings.timeout, scratch
    )


def _plan(source: Source, facts: TeacherFacts, settings: LabelSettings) -> Iterator[Window]:
    return planned(source.frames(), facts, isolated=settings.isolated)


def _result(path: Path, outcome: Outcome, facts: TeacherFacts, count: _Count) -> LabelResult:
    return LabelResult(
        path=path,
        n_frames=outcome.frames,
        n_added=outcome.added,
        left_out=outcome.left_out,
        examples=outcome.examples,
        isolated=outcome.isolated,
        elements=dict(sorted(outcome.elements.items())),
        replaced=dict(sorted(outcome.replaced.items())),
        facts=facts,
        seconds=count.seconds,
        n_computed=count.computed,
    )


class _Count:
    """Counts answered structures for several threads, and shows how far the run is."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        self.computed, self.seconds = 0, 0.0
        self._progress, self._lock = Progress("label", total, quiet=quiet), threading.Lock()

    def __call__(self, count: int, *, computed: bool) -> None:
        """So many more; ``computed``: in this run."""
        with self._lock:
            self.computed += count if computed else 0
            for _ in range(count):
                self._progress.update()

    def __enter__(self) -> _Count:
        self._started = monotonic()
        self._progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = monotonic() - self._started
        self._progress.__exit__(kind, error, trace)
        if isinstance(error, KeyboardInterrupt):
            number = getattr(error, "signum", signal.SIGINT)
            raise Interrupted(number, "what is labelled is kept: --resume goes on") from error
