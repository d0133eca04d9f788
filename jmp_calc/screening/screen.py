"""Screen thousands of structures with any calculator, on any executor, so that a killed campaign can go on.

result = screen(["molecules.extxyz", "cifs/"], calc=calc, task="relax", out="campaign", processes=4)
result.table, result.counts, result.rows[0].outcome.atoms
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import UsageError
from ..io.files import parse_structure
from ..io.journal import Journal
from ..io.outdir import check_free, claimed, with_prefix
from ..io.progress import Progress
from ..io.reader import UNLABELLED_SUFFIXES
from ..io.structures import given_structures
from ..io.tables import write_csv, write_database
from ..machine.signals import Interrupted, deferred_signals
from ..version import __version__
from ..workflows.common import write_frames
from ..workflows.outcomes import Outcome, Row, failure
from ..workflows.potentials import potential
from ..workflows.rows import Rows
from .answers import Answers
from .campaign import Campaign
from .engines import Engine, Given, Here, Processes
from .plan import Place, Unit, Unreadable, planned, read
from .settings import ScreenSettings, Task, TaskSettings
from .worker import made, packed

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

    Structure: TypeAlias = str | os.PathLike[str] | Atoms

TABLE, DATABASE, FRAMES, JOURNAL = "screen.csv", "screen.db", "screen.extxyz", "screen.jsonl"
PLOTS = ("screen.svg", "screen.png")
OUTPUTS = (TABLE, DATABASE, FRAMES, JOURNAL, *PLOTS)
RESUME_HINT = "--resume goes on with it"
LINES = 2
"""Form of the journal's lines."""
GIVEN_WIDTH = 64
"""Orders under way at an executor whose workers are not known."""


@dataclass(frozen=True, eq=False, repr=False)
class ScreenResult(Rows):
    """A row for each structure of the input, in its order."""

    settings: ScreenSettings
    potential: dict[str, Any]
    """What identifies the calculator."""
    n_computed: int
    """Structures that this call has computed; the others were known."""
    seconds: float
    """Wall time of this call."""

    def __repr__(self) -> str:
        return f"<ScreenResult of {len(self.rows)} structures, {self.settings.task}: {self.told_counts()}>"

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml; those of each structure are in the table."""
        return {
            **self.numbers(),
            "n_computed": self.n_computed,
            "seconds": round(self.seconds, 2),
            "structures_per_s": round(self.n_computed / self.seconds, 3) if self.n_computed else None,
            "without_result": self.reasons(),
        }

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "", plot: bool = True) -> list[Path]:
        """Write screen.csv, screen.db, screen.extxyz and, if wanted, the figure; returns their paths."""
        table, database, frames = (Path(folder) / with_prefix(name, prefix) for name in OUTPUTS[:3])
        write_csv(table, [row.to_dict() for row in self.rows])
        write_database(
            database,
            ((row.outcome.atoms, row.to_dict()) for row in self.rows if row.outcome.atoms is not None),
        )
        write_frames(frames, self.frames("screen"))
        return [table, database, frames, *(self.plot(folder, prefix=prefix) if plot else [])]

    def plot(self, folder: str | os.PathLike[str], *, prefix: str = "") -> list[Path]:
        """Draw how the numbers of the table are spread; nothing where matplotlib or the numbers are
        missing."""
        from ..io import plots
        from ..io.plot_screen import plot_screen

        panels = self._panels()
        if not panels or not plots.available():
            return []
        paths = [Path(folder) / with_prefix(name, prefix) for name in PLOTS]
        plot_screen(panels, self.counts, paths)
        return [path for path in paths if path.is_file()]

    def _panels(self) -> dict[str, list[float]]:
        """Up to four columns of the table that say most of its task, with their numbers."""
        found = {}
        for name in COLUMNS[self.settings.task]:
            values = [row.outcome.values.get(name) for row in self.rows]
            numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
            if numbers:
                found[name] = numbers
        return dict(list(found.items())[:4])

    def require_some(self) -> None:
        """Raise NotConvergedError where a structure has no result, with the first names."""
        self.refuse(self.failed, f"{TABLE} has a row for each; --resume --retry computes these again")


COLUMNS: dict[Task, tuple[str, ...]] = {
    "singlepoint": ("energy_ev_per_atom", "fmax_ev_per_a", "pressure_gpa"),
    "relax": ("energy_ev_per_atom", "energy_gain_ev_per_atom", "n_steps", "volume_a3_per_atom"),
    "md": ("temperature_k_mean", "pressure_gpa_mean", "volume_a3_mean", "drift_mev_per_atom_per_ps"),
    "eos": ("bulk_modulus_gpa", "bulk_modulus_derivative", "volume_a3_per_atom"),
    "elastic": (
        "relaxed_ions_hill_bulk_gpa",
        "relaxed_ions_hill_shear_gpa",
        "clamped_ions_hill_bulk_gpa",
        "clamped_ions_hill_shear_gpa",
    ),
    "phonons": ("lowest_frequency_thz", "highest_frequency_thz", "thermal_heat_capacity_j_per_k_per_mol"),
}
"""Of the figure, by task."""


def screen(
    structures: Structure | Sequence[Structure],
    *,
    calc: Calculator | Callable[[], Calculator],
    out: str | os.PathLike[str],
    task: Task = ScreenSettings.task,
    settings: TaskSettings | None = ScreenSettings.settings,
    batch: int = ScreenSettings.batch,
    processes: int = ScreenSettings.processes,
    executor: Executor | None = None,
    index: str | None = None,
    resume: bool = False,
    retry: bool = ScreenSettings.retry,
    prefix: str = "",
    plot: bool = True,
    quiet: bool = True,
) -> ScreenResult:
    """Compute the same thing of many structures: a row for each, whatever happens to the others.

    Args:
        structures: files that ASE reads (FILE@INDEX, patterns, folders), or Atoms.
        calc: calculator of all, or a function that makes one; each worker makes its own, so it must pickle.
        out: folder for screen.csv, screen.db, screen.extxyz and screen.jsonl, which grows while it runs.
        task: what is computed of every structure: "singlepoint", "relax", "md", "eos", "elastic" or
            "phonons". Default: "relax".
        settings: how: RelaxSettings(cell="full") and its like of the other tasks; their defaults if none are
            given. Default: None.
        batch: structures that a worker evaluates together, of the tasks singlepoint and relax. Default: 16.
        processes: processes that compute side by side; 1 is this one. Default: 1.
        executor: any concurrent.futures.Executor that computes instead, such as that of Dask, Parsl or MPI;
            it stays open. Default: None.
        index: frames of each file: 0, -1, : or 0:10. Default: None.
        resume: go on with what a killed campaign left in the folder. Default: False.
        retry: compute structures that failed or did not converge again, with ``resume``. Default: False.
        prefix: PREFIX- before every file name. Default: "".
        plot: draw how the main numbers are spread. Default: True.
        quiet: no progress bar. Default: True.

    Returns:
        ScreenResult; nothing is raised for structures without a result, look at ``failed``.

    Raises:
        UsageError: no structures, settings that cannot be meant, a calculator that does not pickle, a folder
            with other results.
        ModelError: the workers die whatever they compute.
        Interrupted: after SIGINT or SIGTERM; what is computed is kept.
    """
    wanted = ScreenSettings(task=task, settings=settings, batch=batch, processes=processes, retry=retry)
    source = Source.of(structures, index)
    names = [with_prefix(name, prefix) for name in OUTPUTS]
    with claimed(out, names):
        if not resume:
            check_free(Path(out), names, resume_hint="resume=True goes on with it")
        path = Path(out) / with_prefix(JOURNAL, prefix)
        engine = Given(executor, GIVEN_WIDTH) if executor is not None else engine_of(processes)
        result = run_screen(source, wanted, calc, path, engine, quiet=quiet)
        result.write(out, prefix=prefix, plot=plot)
    return result


def engine_of(processes: int) -> Engine:
    """This process, or some of ours."""
    return Here() if processes == 1 else Processes(processes)


@dataclass(frozen=True, eq=False)
class Source:
    """Where the structures of a campaign come from."""

    items: tuple[str | Atoms, ...]
    """Files, FILE@INDEX, and structures in memory, in their order."""
    index: str | None = None

    @classmethod
    def of(cls, given: Structure | Sequence[Structure], index: str | None) -> Source:
        """Files, patterns, folders and structures in memory.

        Raises:
            BadInputError: files that are not there. UsageError: nothing, or a file that is given twice.
        """
        source = cls(given_structures(given, UNLABELLED_SUFFIXES, index), index)
        if not source.items:
            raise UsageError("No structure was given.")
        return source

    @property
    def specs(self) -> tuple[str, ...]:
        """Files, and FILE@INDEX."""
        return tuple(item for item in self.items if isinstance(item, str))

    @property
    def paths(self) -> list[str]:
        """The files."""
        return list(dict.fromkeys(str(parse_structure(spec).path) for spec in self.specs))

    def planned(self, size: int) -> Iterator[Unit | tuple[Place, Unreadable]]:
        """The units of the campaign."""
        return planned(read(self.items, index=self.index), size)


def run_screen(
    source: Source,
    settings: ScreenSettings,
    calc: Calculator | Callable[[], Calculator],
    journal_path: Path,
    engine: Engine,
    *,
    quiet: bool,
) -> ScreenResult:
    """``screen`` with a journal in a folder that the caller holds; errors as there."""
    began = time.monotonic()
    words = potential(made(calc))
    answers = Answers(Journal(journal_path, _identity(settings, words)))
    total = sum(_size(part) for part in source.planned(settings.unit))
    places: list[tuple[Place, str]] = []
    unreadable: list[Row] = []
    with (
        deferred_signals() as signals,
        Progress(settings.task, total, quiet=quiet) as progress,
    ):
        campaign = Campaign(settings, _pickled(calc), answers, words, engine, progress)
        try:
            campaign.run(_units(source.planned(settings.unit), places, unreadable), signals)
        except Interrupted as stopped:
            kept = f"{progress.done} of {total} structures were done; --resume goes on"
            raise Interrupted(stopped.signum, kept) from stopped
    found = (_row(place, Outcome.from_json(answers.of(key) or {})) for place, key in places)
    rows = [*found, *unreadable]
    rows.sort(key=lambda row: row.number)
    return ScreenResult(tuple(rows), settings, words, campaign.computed, time.monotonic() - began)


def _identity(settings: ScreenSettings, words: dict[str, Any]) -> dict[str, Any]:
    """On what the results depend; how many processes compute is not among it."""
    told = {name: value for name, value in settings.to_dict().items() if name not in ("processes", "retry")}
    return {"jmp_calc": __version__, "lines": LINES, **told, "potential": words}


def _size(part: Unit | tuple[Place, Unreadable]) -> int:
    return len(part.places) if isinstance(part, Unit) else 0


def _pickled(calc: Calculator | Callable[[], Calculator]) -> bytes:
    try:
        return packed(calc)
    except Exception as error:  # whatever the pickling of a foreign object raises
        raise UsageError(
            f"The calculator cannot be sent to workers ({type(error).__name__}: {error}).",
            hint="give a function of a module that makes it: calc=my_module.make",
        ) from error


def _units(
    parts: Iterator[Unit | tuple[Place, Unreadable]],
    places: list[tuple[Place, str]],
    unreadable: list[Row],
) -> Iterator[Unit]:
    """The units, while what the table needs is noted: each structure with its key."""
    for part in parts:
        if isinstance(part, Unit):
            places += zip(part.places, part.keys, strict=True)
            yield part
        else:
            place, fault = part
            unreadable.append(_row(place, failure(fault.error)))


def _row(place: Place, outcome: Outcome) -> Row:
    return Row(place.number, place.file, place.frame, place.formula, place.n_atoms, outcome)
