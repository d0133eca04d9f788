"""ASE's nudged elastic band with all images evaluated at once, and optimizers with a state to go on from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ase.mep import NEB
from ase.optimize import BFGS, FIRE

from ...errors import BadInputError
from ..common import raw_results
from .settings import NEBSettings

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

FIRE_STATE = ("dt", "a", "Nsteps")


class Band(NEB):  # type: ignore[misc]
    """A band whose images share a calculator; those that moved are evaluated together."""

    def __init__(self, images: list[Atoms], calculator: Calculator, settings: NEBSettings) -> None:
        super().__init__(
            images, k=settings.spring, method="improvedtangent", allow_shared_calculator=True, climb=False
        )
        self.calculator = calculator

    def get_forces(self) -> np.ndarray:
        """Forces (images * atoms, 3) on the inner images, eV/Å, springs included."""
        self.evaluate()
        return np.asarray(super().get_forces())

    def evaluate(self) -> None:
        """Compute the images that moved; BadInputError for energies or forces that are not finite.

        The ends are computed apart from the others, so that these have the same company before and after a
        resume, and the same last digits.
        """
        for group in ((0, len(self.images) - 1), range(1, len(self.images) - 1)):
            stale = [i for i in group if not _is_current(self.images[i])]
            if stale:
                self._compute(stale)

    def _compute(self, stale: list[int]) -> None:
        from ase.calculators.singlepoint import SinglePointCalculator

        copies = [self.images[i].copy() for i in stale]
        for copy in copies:
            copy.calc = self.calculator
        for i, results in zip(stale, raw_results(copies, ["energy", "forces"]), strict=True):
            if not (np.isfinite(results["energy"]) and np.isfinite(results["forces"]).all()):
                raise BadInputError(
                    f"Energy or forces of image {i} are not finite.", hint="try other ends, or more images"
                )
            self.images[i].calc = SinglePointCalculator(self.images[i], **results)

    @property
    def positions(self) -> np.ndarray:
        """Of all images, ends included, (images, atoms, 3), Å."""
        return np.array([image.positions for image in self.images])


def _is_current(image: Atoms) -> bool:
    from ase.calculators.singlepoint import SinglePointCalculator

    return isinstance(image.calc, SinglePointCalculator) and not image.calc.check_state(image)


def interpolated(first: Atoms, last: Atoms, calculator: Calculator, settings: NEBSettings) -> Band:
    """A band between two ends, straight or by the image dependent pair potential."""
    images = [first.copy(), *(first.copy() for _ in range(settings.images)), last.copy()]
    plain = NEB(images, method="improvedtangent", allow_shared_calculator=True)
    plain.interpolate(settings.interpolation, mic=bool(first.pbc.any()), apply_constraint=True)
    return Band(images, calculator, settings)


def optimizer_of(band: Band, settings: NEBSettings, state: dict[str, np.ndarray]) -> BFGS | FIRE:
    """An optimizer that goes on from a state of ``optimizer_state``; an empty one begins anew."""
    if settings.optimizer == "FIRE":
        fire = FIRE(band, logfile=None)
        if state:
            fire.vel = np.array(state["vel"])
            fire.dt, fire.a, fire.Nsteps = float(state["dt"]), float(state["a"]), int(state["Nsteps"])
        return fire
    bfgs = BFGS(band, logfile=None)
    if state:
        bfgs.update(state["pos0"], state["forces0"], None, None)  # makes its state, with its first Hessian
        bfgs.state.hessian = np.array(state["hessian"])
        bfgs.pos0, bfgs.forces0 = np.array(state["pos0"]), np.array(state["forces0"])
    return bfgs


def optimizer_state(optimizer: BFGS | FIRE) -> dict[str, np.ndarray]:
    """Arrays of an optimizer, of any shape; empty before its first step."""
    if isinstance(optimizer, FIRE):
        if optimizer.vel is None:
            return {}
        return {"vel": np.array(optimizer.vel)} | {n: np.array(getattr(optimizer, n)) for n in FIRE_STATE}
    if optimizer.state is None:
        return {}
    kept: dict[str, Any] = {"pos0": optimizer.pos0, "forces0": optimizer.forces0}
    return {name: np.array(value) for name, value in kept.items()} | {"hessian": optimizer.state.hessian}
