"""Nudged elastic bands with any ASE calculator: the path between two structures and its barrier.

result = neb(initial, final)
result.converged, result.barrier_ev, result.images[result.saddle]
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import JMPWarning
from ...io.outdir import claimed, with_prefix
from ...io.progress import Progress
from ...machine.signals import DeferredSignals, Interrupted, deferred_signals
from ..common import output_path, snapshot, warn_if_not_smooth
from .band import Band, interpolated, optimizer_of, optimizer_state
from .ends import matching, relaxed_ends
from .result import OUTPUTS, STATE, NEBResult
from .settings import BandOptimizer, Interpolation, NEBSettings
from .state import BandState, BandStep, belonging

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

CLIMB_BELOW = 0.3
"""Largest force, eV/Å, from which on the highest image climbs: before, it need not be near the saddle."""
RUNAWAY, RUNAWAY_EV_A = 10.0, 10.0
"""A band whose largest force is above the first one by this factor, and above this, will not come back."""


def neb(
    initial: Atoms,
    final: Atoms,
    *,
    calc: Calculator | None = None,
    images: int = NEBSettings.images,
    climb: bool = NEBSettings.climb,
    interpolation: Interpolation = NEBSettings.interpolation,
    spring: float = NEBSettings.spring,
    optimizer: BandOptimizer = NEBSettings.optimizer,
    fmax: float = NEBSettings.fmax,
    steps: int = NEBSettings.steps,
    relax_ends: bool = NEBSettings.relax_ends,
    ends_fmax: float = NEBSettings.ends_fmax,
    ends_steps: int = NEBSettings.ends_steps,
    resume: bool = False,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    plot: bool = True,
    quiet: bool = True,
) -> NEBResult:
    """Path of least energy between two structures with the same atoms in the same order.

    Args:
        initial: first structure; its fixed atoms stay fixed.
        final: last structure, in the same cell.
        calc: calculator to use; that of ``initial`` if none is given. Default: None.
        images: images between the two ends. Default: 7.
        climb: let the highest image climb to the saddle, once the band is near its path. Default: True.
        interpolation: first guess of the path: "idpp" (image dependent pair potential, which keeps atoms
            apart) or "linear". Default: "idpp".
        spring: stiffness of the springs between images, eV/Å². Default: 0.1.
        optimizer: ASE's optimizer: "FIRE" (safe) or "BFGS" (often fewer steps, but a dense matrix of all
            coordinates of all images; can run away where two images are equally high). Default: "FIRE".
        fmax: largest force allowed on an atom of an inner image, springs included, eV/Å. Default: 0.05.
        steps: most optimizer steps, those of the run that is resumed counted in. Default: 500.
        relax_ends: relax both ends first. Default: True.
        ends_fmax: largest force allowed in a relaxed end, eV/Å. Default: 0.01.
        ends_steps: most steps of the relaxation of an end. Default: 500.
        resume: go on with the band in the folder, if there is one. Default: False.
        out: folder for the band, its state and the figure; nothing is written without one. Default: None.
        prefix: PREFIX- before every file name. Default: "".
        plot: draw a figure of the barrier into the folder. Default: True.
        quiet: no progress bar. Default: True.

    Returns:
        NEBResult; look at ``converged``, nothing is raised when ``steps`` did not suffice.

    Raises:
        UsageError: no calculator, ends that no path connects, settings that cannot be meant, a folder into
            which another job writes or with the band of another run.
        BadStructureError: an end that cannot be evaluated.
        BadInputError: energies or forces that are not finite, a damaged state.
        NotConvergedError: an end that could not be relaxed.
        Interrupted: after SIGINT or SIGTERM; the state in the folder goes on with ``resume``.
    """
    settings = NEBSettings(
        images=images,
        climb=climb,
        interpolation=interpolation,
        spring=spring,
        optimizer=optimizer,
        fmax=fmax,
        steps=steps,
        relax_ends=relax_ends,
        ends_fmax=ends_fmax,
        ends_steps=ends_steps,
    )
    first, last = matching(initial, final, calc)
    with claimed(out, (with_prefix(name, prefix) for name in OUTPUTS)):
        warn_if_not_smooth(first)
        folder = None if out is None else Path(out)
        result = _Run(first, last, settings, folder, prefix, resume, quiet).result()
        if out is not None:
            result.write(out, prefix=prefix, plot=plot)
    if result.converged:
        _warn_of_shape(result)
    return result


class _Run:
    """One band at work: the optimizer loop, its state on disk."""

    def __init__(
        self,
        first: Atoms,
        last: Atoms,
        settings: NEBSettings,
        folder: Path | None,
        prefix: str,
        resume: bool,
        quiet: bool,
    ) -> None:
        self.settings, self.quiet, self.calculator = settings, quiet, first.calc
        self.belongs = belonging(first, last, settings)
        self.path = None if folder is None else output_path(folder, STATE, prefix)
        self.log = None if folder is None else output_path(folder, "neb.log", prefix)
        self.history: list[BandStep] = []
        self.inner: dict[str, np.ndarray] = {}
        if resume and self.path is not None and self.path.exists():
            self.band = self._resumed(first, last, BandState.load(self.path), self.path)
        else:
            self.band = interpolated(*relaxed_ends(first, last, settings, quiet), first.calc, settings)
        self.converged = False

    def _resumed(self, first: Atoms, last: Atoms, state: BandState, path: Path) -> Band:
        state.check_belongs_to(self.belongs, path)
        images = [first.copy(), *(first.copy() for _ in range(self.settings.images)), last.copy()]
        for image, positions in zip(images, state.positions, strict=True):
            image.positions[:] = positions
        band = Band(images, self.calculator, self.settings)
        band.climb, self.inner, self.history = state.climbing, state.optimizer, list(state.history)
        return band

    def result(self) -> NEBResult:
        """Run, and put the result together."""
        from ase.utils.forcecurve import fit_images

        with deferred_signals() as signals, Progress("neb", None, quiet=self.quiet) as progress:
            while True:
                signal = self._stage(signals, progress)
                if signal is not None:
                    raise Interrupted(signal, f"go on from step {self.history[-1].step} with --resume")
                if not self.converged or bool(self.band.climb) == self.settings.climb:
                    break
                self.band.climb, self.inner, self.converged = True, {}, False
        fit = fit_images(self.band.images)
        frames = tuple(snapshot(image, info={"image": i}) for i, image in enumerate(self.band.images))
        return NEBResult(
            images=frames,
            converged=self.converged,
            fmax=self.history[-1].fmax,
            saddle=int(np.argmax([frame.calc.results["energy"] for frame in frames])),
            path_a=np.array(fit.path),
            curve=(np.array(fit.fit_path), np.array(fit.fit_energies)),
            history=tuple(self.history),
            settings=self.settings,
        )

    def _stage(self, signals: DeferredSignals, progress: Progress) -> int | None:
        """Step without or with the climbing image until its limit; returns the number of a signal."""
        settings = self.settings
        limit = settings.fmax
        if settings.climb and not self.band.climb:
            limit = max(limit, CLIMB_BELOW)
        before = self.history[-1].step if self.history else 0
        optimizer = optimizer_of(self.band, settings, self.inner)
        for converged in optimizer.irun(fmax=limit, steps=max(settings.steps - before, 0)):
            self.converged = bool(converged)
            self.inner = optimizer_state(optimizer)
            self._keep(before + optimizer.nsteps)
            progress.update(f"{self.history[-1].barrier_ev:.4f} eV")
            if signals.received is not None and not converged:
                return signals.received
            if self.history[-1].fmax > max(RUNAWAY * self.history[0].fmax, RUNAWAY_EV_A):
                text = f"the band ran away: the force is {self.history[-1].fmax:.2g} eV/Å"
                warnings.warn(f"{text}; start anew with optimizer FIRE", JMPWarning, stacklevel=4)
                return None
        return None

    def _keep(self, step: int) -> None:
        """Record a step; one that is there already, after a resume or when the climb begins, is replaced."""
        forces = self.band.get_forces()
        energies = [image.calc.results["energy"] for image in self.band.images]
        entry = BandStep(
            step=step,
            fmax=float(np.linalg.norm(forces, axis=1).max()),
            barrier_ev=float(max(energies) - energies[0]),
            climbing=bool(self.band.climb),
        )
        if self.history and self.history[-1].step == step:
            self.history.pop()
        self.history.append(entry)
        if self.path is not None and self.log is not None:
            history = tuple(self.history)
            state = BandState(self.band.positions, self.inner, history, bool(self.band.climb), self.belongs)
            state.save(self.path)
            with self.log.open("a", encoding="utf-8") as log:  # for those who watch; written anew at the end
                log.write(f"{entry.line}\n")


def _warn_of_shape(result: NEBResult) -> None:
    """JMPWarning for a path without barrier, or over several."""
    if result.saddle in (0, len(result.images) - 1):
        text = "the path has no barrier: its highest image is an end"
        warnings.warn(text, JMPWarning, stacklevel=3)
    if result.minima:
        numbers = ", ".join(map(str, result.minima))
        text = (
            f"the path has minima between its ends (image {numbers}): relax them and compute each step alone"
        )
        warnings.warn(text, JMPWarning, stacklevel=3)
