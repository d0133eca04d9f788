"""Relax many structures at once, so that a killed run can go on: a row for each, failures told by name.

result = relax_many(structures, calc=calc, cell="full", out="relaxed")
result.rows[0].outcome.atoms, result.failed
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import a_calculator, structure_list
from ..errors import UsageError
from ..io.journal import Journal
from ..io.outdir import check_free, claimed, with_prefix
from ..io.progress import Progress
from ..io.structures import NamedFrame
from ..io.tables import write_csv
from ..machine.signals import Interrupted, deferred_signals
from ..version import __version__
from .common import write_frames
from .outcomes import Outcome, Row, content_key, of_relaxation
from .potentials import potential
from .relax_each import TOGETHER, relax_each
from .relax_settings import CellMode, OptimizerName, RelaxSettings
from .rows import Rows

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

FRAMES, TABLE, JOURNAL = "relaxed.extxyz", "relax.csv", "relax.jsonl"
MANY_OUTPUTS = (FRAMES, TABLE, JOURNAL)


@dataclass(frozen=True, eq=False, repr=False)
class RelaxManyResult(Rows):
    """A row for each structure, in their order."""

    settings: RelaxSettings

    def __repr__(self) -> str:
        return f"<RelaxManyResult of {len(self.rows)} structures: {self.told_counts()}>"

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml; those of each structure are in the table."""
        steps = [row.outcome.values.get("n_steps") for row in self.rows]
        return {
            **self.numbers(),
            "n_steps": sum(count for count in steps if isinstance(count, int)),
            "not_relaxed": self.reasons(),
        }

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "") -> list[Path]:
        """Write relaxed.extxyz (without those that failed) and relax.csv; returns their paths."""
        frames, table = (Path(folder) / with_prefix(name, prefix) for name in MANY_OUTPUTS[:2])
        write_frames(frames, self.frames("relax"))
        write_csv(table, [row.to_dict() for row in self.rows])
        return [frames, table]

    def require_converged(self, *, allow_unconverged: bool = False) -> None:
        """Raise NotConvergedError that names structures that are not relaxed, or only those that failed."""
        bad = [row for row in self.failed if row.outcome.status == "failed" or not allow_unconverged]
        self.refuse(
            bad, f"{TABLE} has a row for each; steps that were too few: --overwrite with more --steps"
        )


def relax_many(
    structures: Iterable[Atoms],
    *,
    calc: Calculator | None = None,
    fmax: float = RelaxSettings.fmax,
    steps: int = RelaxSettings.steps,
    optimizer: OptimizerName = RelaxSettings.optimizer,
    cell: CellMode = RelaxSettings.cell,
    pressure_gpa: float = RelaxSettings.pressure_gpa,
    fix_symmetry: bool = RelaxSettings.fix_symmetry,
    symprec: float = RelaxSettings.symprec,
    guard: bool = RelaxSettings.guard,
    together: int = TOGETHER,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    resume: bool = False,
    quiet: bool = True,
) -> RelaxManyResult:
    """Relax copies of many structures side by side, each to its own end.

    Args:
        structures: any sizes, molecules and crystals; their constraints hold.
        calc: calculator of all; that of each structure if none is given. Default: None.
        fmax: largest force allowed, as of ``relax``, eV/Å. Default: 0.01.
        steps: most optimizer steps of each. Default: 1000.
        optimizer: as of ``relax``: "BFGS", "FIRE" or "LBFGS". Default: "BFGS".
        cell: as of ``relax``: "none", "volume", "shape", "lengths" or "full". Default: "none".
        pressure_gpa: pressure on cells that may change, GPa. Default: 0.0.
        fix_symmetry: keep the space group of each. Default: False.
        symprec: deviations from symmetry below this are ignored, Å. Default: 0.01.
        guard: stop where atoms come nearer to each other than the training data of the model know. Default:
            True.
        together: structures that are evaluated in one batch; where one has ended the next enters. Default:
            64.
        out: folder for relaxed.extxyz, relax.csv and relax.jsonl, which grows while it runs; nothing is
            written without one. Default: None.
        prefix: PREFIX- before every file name. Default: "".
        resume: go on with what a killed run left in the folder. Default: False.
        quiet: no progress bar. Default: True.

    Returns:
        RelaxManyResult; nothing is raised for structures that failed or did not converge, look at
        ``failed``.

    Raises:
        UsageError: no structures, no calculator, settings that contradict each other, a folder with other
            results.
        Interrupted: after SIGINT or SIGTERM; what has ended is kept in ``out``.
    """
    settings = RelaxSettings(
        fmax=fmax,
        steps=steps,
        optimizer=optimizer,
        cell=cell,
        pressure_gpa=pressure_gpa,
        fix_symmetry=fix_symmetry,
        symprec=symprec,
        guard=guard,
    )
    frames = [NamedFrame(atoms, "", number) for number, atoms in enumerate(structure_list(structures))]
    run = ManyRun(frames, settings, calc, together)
    if out is None:
        return run.result(None, quiet=quiet)
    names = [with_prefix(name, prefix) for name in MANY_OUTPUTS]
    with claimed(out, names):
        if not resume:
            check_free(Path(out), names, resume_hint="resume=True goes on with it")
        result = run.result(Path(out) / names[-1], quiet=quiet)
        result.write(out, prefix=prefix)
    return result


class ManyRun:
    """The relaxations of one call: what is known already is not computed again."""

    def __init__(
        self, frames: Sequence[NamedFrame], settings: RelaxSettings, calc: Calculator | None, together: int
    ) -> None:
        """UsageError for no structures, one without a calculator, or none at a time."""
        if not frames:
            raise UsageError("No structure was given.")
        calc = None if calc is None else a_calculator(calc)
        if together < 1:
            raise UsageError(f"At least one structure must be relaxed at a time, got {together}.")
        if calc is None and any(frame.atoms.calc is None for frame in frames):
            raise UsageError("A structure has no calculator.", hint="give one for all: calc=")
        self._frames, self._settings, self._calc, self._together = frames, settings, calc, together
        own = list(dict.fromkeys(id(calc or frame.atoms.calc) for frame in frames))
        self._keys = [
            f"{content_key(frame.atoms)}-{own.index(id(calc or frame.atoms.calc))}" for frame in frames
        ]
        self._known: dict[str, Outcome] = {}

    def result(self, path: Path | None, *, quiet: bool) -> RelaxManyResult:
        """Relax what the journal at ``path`` does not have; the caller holds its folder.

        Raises:
            Interrupted: after a signal. UsageError: a journal of another run.
        """
        journal = None if path is None else Journal(path, self._identity())
        if journal is not None:
            for key in set(self._keys):
                if key in journal:
                    self._known[key] = Outcome.from_json(journal.get(key))
        self._relax(journal, quiet)
        rows = tuple(self._row(number) for number in range(len(self._frames)))
        return RelaxManyResult(rows, self._settings)

    def _relax(self, journal: Journal | None, quiet: bool) -> None:
        done = sum(key in self._known for key in self._keys)
        total = len(self._frames)
        with (
            deferred_signals() as signals,
            Progress("relax", total, initial=done, quiet=quiet) as progress,
        ):
            waiting = list(self._waiting())
            ended = relax_each(
                waiting, self._settings, calc=self._calc, together=self._together, signals=signals
            )
            try:
                for one in ended:
                    key, frame = self._keys[one.number], self._frames[one.number]
                    self._known[key] = of_relaxation(one.outcome, frame.atoms)
                    if journal is not None:
                        journal.add(key, self._known[key].to_json())
                    progress.update(f"{self._known[key].status}")
            except Interrupted as stopped:
                kept = sum(key in self._known for key in self._keys)
                hint = "" if journal is None else "; --resume goes on"
                raise Interrupted(
                    stopped.signum, f"{kept} of {total} structures were done{hint}"
                ) from stopped

    def _waiting(self) -> Iterator[tuple[int, Atoms]]:
        """The structures to relax; equal ones once."""
        taken = set(self._known)
        for number, key in enumerate(self._keys):
            if key not in taken:
                taken.add(key)
                yield number, self._frames[number].atoms

    def _row(self, number: int) -> Row:
        frame = self._frames[number]
        return Row(
            number=number,
            file=frame.spec,
            frame=frame.number,
            formula=frame.atoms.get_chemical_formula(),
            n_atoms=len(frame.atoms),
            outcome=self._known[self._keys[number]],
        )

    def _identity(self) -> dict[str, Any]:
        calculators = [self._calc] if self._calc is not None else [f.atoms.calc for f in self._frames]
        words = {repr(potential(calculator)): potential(calculator) for calculator in calculators}
        return {
            "task": "relax",
            "jmp_calc": __version__,
            "settings": self._settings.to_dict(),
            "potential": list(words.values()),
        }
