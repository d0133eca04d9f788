"""Transition states with any ASE calculator: from a guess to a saddle of first order, by Sella.

result = ts(guess)
result.order, result.imaginary_cm1, result.barrier_ev
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ...errors import BadInputError, JMPWarning
from ...io.outdir import claimed, with_prefix
from ...io.progress import Progress
from ...machine.signals import Interrupted, deferred_signals
from ..common import jmp_calculator, output_path, snapshot, warn_if_not_smooth, working_copy, write_frames
from ..kept import Kept, digest, kept_in
from ..remembering import Remembering
from ..statics.together import evaluated, relaxed
from ..vibrations.hessian import way_of
from ..vibrations.result import VibResult
from ..vibrations.settings import VibSettings
from ..vibrations.vib import vib, vibrating
from .sella_extra import require_sella, saddle_optimizer
from .ts_result import OUTPUTS, TSResult, TSStep
from .ts_settings import Coordinates, SaddleHessian, TSSettings

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

SCAN_A = np.linspace(-0.3, 0.3, 13)
"""How far the atom that moves most goes along the mode in the picture, Å."""
OFF_A = 0.15
"""The same, from where both sides are relaxed."""
SAME_A = 0.05
"""Ends whose atoms differ by less, Å, are the same."""


def ts(
    atoms: Atoms,
    *,
    calc: Calculator | None = None,
    fmax: float = TSSettings.fmax,
    steps: int = TSSettings.steps,
    coordinates: Coordinates = TSSettings.coordinates,
    hessian: SaddleHessian = TSSettings.hessian,
    check: bool = TSSettings.check,
    connect: bool = TSSettings.connect,
    tolerance_cm1: float = TSSettings.tolerance_cm1,
    resume: bool = False,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    plot: bool = True,
    quiet: bool = True,
) -> TSResult:
    """Transition state near a guess, such as the highest image of a band, and what it connects.

    Args:
        atoms: the guess; its fixed atoms stay fixed.
        calc: calculator to use; that of ``atoms`` if none is given. Default: None.
        fmax: largest force allowed on an atom, eV/Å. Default: 0.01.
        steps: most steps of the search, those of the run that is resumed counted in. Default: 300.
        coordinates: in which Sella steps: "cartesian", or "internal" (bonds, angles and torsions, for
            molecules that turn and bend far). Default: "cartesian".
        hessian: second derivatives: "autograd" (by automatic differentiation, which a JMPCalculator can),
            "iterative" (Sella's own, from forces, which any calculator can) or "auto". Default: "auto".
        check: compute the vibrations of what was found: a transition state has one imaginary mode. Default:
            True.
        connect: relax both sides of it along that mode: they are what it connects. Default: True.
        tolerance_cm1: modes above minus this are not counted as imaginary, cm⁻¹. Default: 10.0.
        resume: take what a killed run has computed in the folder, and go on from there. Default: False.
        out: folder for structures and the figure; nothing is written without one. Default: None.
        prefix: PREFIX- before every file name. Default: "".
        plot: draw a figure of the search and of the energy along the mode into the folder. Default: True.
        quiet: no progress bar. Default: True.

    Returns:
        TSResult; look at ``is_saddle``, nothing is raised when ``steps`` did not suffice or the order is
        another one.

    Raises:
        UsageError: Sella is not installed; no calculator, constraints other than fixed atoms, settings that
            cannot be meant, a folder into which another job writes or with another run.
        BadStructureError: a guess that cannot be evaluated.
        BadInputError: energies or forces that are not finite.
        Interrupted: after SIGINT or SIGTERM; with ``out`` the steps so far have been written, and ``resume``
            goes on.
    """
    settings = TSSettings(
        fmax=fmax,
        steps=steps,
        coordinates=coordinates,
        hessian=hessian,
        check=check,
        connect=connect,
        tolerance_cm1=tolerance_cm1,
    )
    require_sella()
    work = working_copy(atoms, calc)
    vibrating(work, VibSettings())
    derivatives = hessian_function(work, settings)
    with claimed(out, (with_prefix(name, prefix) for name in OUTPUTS)):
        warn_if_not_smooth(work)
        kept = kept_in(out, prefix, work, what="ts", resume=resume)
        search = _Search(work, settings, out, prefix, kept, quiet)
        search.run(derivatives)
        result = _result(search, quiet)
        if out is not None:
            result.write(out, prefix=prefix, plot=plot)
    return result


def hessian_function(atoms: Atoms, settings: TSSettings) -> Callable[[Atoms], np.ndarray] | None:
    """What gives Sella the second derivatives; None: its own diagonalisation.

    Raises:
        UsageError: automatic differentiation was asked for, and the calculator cannot.
    """
    if settings.hessian == "iterative":
        return None
    way = way_of(atoms, VibSettings(method="autograd" if settings.hessian == "autograd" else "auto"))
    if way != "autograd":
        return None
    calculator = jmp_calculator(atoms.calc)

    def square(moved: Atoms) -> np.ndarray:
        return np.asarray(calculator.get_hessian(moved).square)

    return square


class _Search:
    """One search at work: Sella's steps, kept and written."""

    def __init__(
        self,
        atoms: Atoms,
        settings: TSSettings,
        out: str | os.PathLike[str] | None,
        prefix: str,
        kept: Kept | None,
        quiet: bool,
    ) -> None:
        self.atoms, self.settings, self.kept, self.quiet = atoms, settings, kept, quiet
        self.calculator = atoms.calc if kept is None else Remembering(atoms.calc, kept)
        self.path = None if out is None else output_path(out, "path.extxyz", prefix)
        self.frames: list[Atoms] = []
        self.history: list[TSStep] = []
        self.converged = False

    def run(self, derivatives: Callable[[Atoms], np.ndarray] | None) -> None:
        """Step until converged, out of steps or signalled (Interrupted).

        A run that goes on takes all steps again, without computing what is kept: Sella's own state cannot be
        stored, and it follows from the energies, forces and second derivatives.
        """
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        able = jmp_calculator(self.atoms.calc)
        self.atoms.calc = self.calculator
        if self.kept is not None:
            derivatives = _remembered(derivatives, self.kept)
        self._steps(derivatives)
        if able is not None:
            self.atoms.calc = able  # what follows goes through batches and second derivatives

    def _steps(self, derivatives: Callable[[Atoms], np.ndarray] | None) -> None:
        self._keep(0)  # before Sella sees forces that are not finite
        internal = self.settings.coordinates == "internal"
        optimizer = saddle_optimizer(self.atoms, derivatives, internal=internal)
        with deferred_signals() as signals, Progress("ts", None, quiet=self.quiet) as progress:
            for converged in optimizer.irun(fmax=self.settings.fmax, steps=self.settings.steps):
                if optimizer.nsteps > self.history[-1].step:
                    self._keep(optimizer.nsteps)
                self.converged = bool(converged) and self.history[-1].fmax <= self.settings.fmax
                progress.update(f"{self.history[-1].fmax:.3f} eV/Å")
                if signals.received is not None and not self.converged:
                    place = "" if self.path is None else "--resume goes on"
                    raise Interrupted(signals.received, place)
                if self.converged:
                    break

    def _keep(self, step: int) -> None:
        energy = float(self.atoms.get_potential_energy(apply_constraint=False))
        forces = self.atoms.get_forces()
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise BadInputError(
                f"Energy or forces are not finite at step {step} of the search.",
                hint="start from another guess",
            )
        self.frames.append(snapshot(self.atoms, info={"step": step}))
        self.history.append(TSStep(step, energy, float(np.linalg.norm(forces, axis=1).max())))
        if self.path is not None:
            write_frames(self.path, self.frames[-1:], append=True)


def _remembered(
    derivatives: Callable[[Atoms], np.ndarray] | None, kept: Kept
) -> Callable[[Atoms], np.ndarray] | None:
    """The same function, asked only where its answer is not kept."""
    if derivatives is None:
        return None
    compute = derivatives

    def found(atoms: Atoms) -> np.ndarray:
        return kept.once(f"hessian {digest(atoms)}", lambda: {"hessian": compute(atoms)})["hessian"]

    return found


def _result(search: _Search, quiet: bool) -> TSResult:
    """What was found, its vibrations and what it connects, with warnings of what is doubtful."""
    settings, found = search.settings, search.atoms
    vibrations = None
    ends: tuple[Atoms, ...] = ()
    scan: tuple[np.ndarray, np.ndarray] | None = None
    if search.converged and settings.check:
        vibrations = vib(
            found,
            relax=False,
            fmax=settings.fmax,
            allow_unconverged=True,
            thermo="none",
            tolerance_cm1=settings.tolerance_cm1,
            quiet=quiet,
        )
    if vibrations is not None and len(vibrations.imaginary_cm1):
        scan = _energies_along(found, vibrations, search.kept, quiet)
        ends = _ends(found, vibrations, search, quiet) if settings.connect else ()
        scan, ends = lower_side_first(scan, ends)
    result = TSResult(
        atoms=search.frames[-1],
        converged=search.converged,
        vibrations=vibrations,
        ends=ends,
        scan=scan,
        frames=tuple(search.frames),
        history=tuple(search.history),
        settings=settings,
    )
    _warn(result)
    return result


def _displaced(found: Atoms, vibrations: VibResult, lengths: np.ndarray) -> list[Atoms]:
    """Copies moved along the lowest mode, the atom that moves most by ``lengths`` (n,), Å."""
    moved = []
    for length in lengths:
        copy = found.copy()
        copy.positions[vibrations.hessian.indices] += length * vibrations.modes.displacements[0]
        copy.calc = found.calc
        moved.append(copy)
    return moved


def _energies_along(
    found: Atoms, vibrations: VibResult, kept: Kept | None, quiet: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Displacements along the imaginary mode, Å, and energies above the saddle, eV, both (n,)."""
    moved = _displaced(found, vibrations, SCAN_A)
    frames = evaluated(moved, ["energy"], what="displacement", quiet=quiet, kept=kept)
    return SCAN_A, np.array([frame.get_potential_energy() for frame in frames]) - vibrations.energy_ev


def _ends(found: Atoms, vibrations: VibResult, search: _Search, quiet: bool) -> tuple[Atoms, ...]:
    """Both sides, relaxed, with their energies and forces."""
    sides = _displaced(found, vibrations, np.array([-OFF_A, OFF_A]))
    for side in sides:
        side.calc = search.calculator  # a relaxation that goes on takes its steps again too
    sides = relaxed(
        sides,
        fmax=search.settings.fmax,
        steps=search.settings.steps,
        allow_unconverged=True,
        what="side",
        quiet=quiet,
    )
    return tuple(evaluated(sides, ["energy", "forces"], what="side", quiet=quiet, kept=search.kept))


def lower_side_first(
    scan: tuple[np.ndarray, np.ndarray], ends: tuple[Atoms, ...]
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[Atoms, ...]]:
    """Scan and ends in the direction that climbs from the lower side: a mode has no sign of its own, so that
    the order of the atoms would decide which barrier is called the one back."""
    lengths, energies = scan
    heights = [end.get_potential_energy(apply_constraint=False) for end in ends] or energies[[0, -1]]
    if heights[0] <= heights[1]:
        return scan, ends
    return (lengths, energies[::-1]), ends[::-1]


def _warn(result: TSResult) -> None:
    """JMPWarning of another order, and of sides that are one or did not relax."""
    if result.order not in (None, 1):
        cm1 = ", ".join(f"{value:.1f}" for value in result.imaginary_cm1) or "none"
        text = f"this is no transition state: {result.order} imaginary modes instead of one (cm-1: {cm1})"
        warnings.warn(text, JMPWarning, stacklevel=4)
    if not result.ends:
        return
    loose = max(float(np.linalg.norm(end.get_forces(), axis=1).max()) for end in result.ends)
    if loose > result.settings.fmax:
        text = f"a side of the saddle is not relaxed ({loose:.2g} eV/Å is left): its barrier is too low"
        warnings.warn(text, JMPWarning, stacklevel=4)
    from ase.geometry import find_mic

    first, last = result.ends
    moved, _ = find_mic(last.positions - first.positions, first.cell, first.pbc)
    if np.linalg.norm(moved, axis=1).max() < SAME_A:
        text = "both sides of the saddle lead to the same structure: it lies on no way to another"
        warnings.warn(text, JMPWarning, stacklevel=4)
