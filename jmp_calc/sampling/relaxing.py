"""A few steps of relaxation, with the cell, by any calculator: what crystals look like near a minimum of it.

Where the calculator is a model that is to be trained, these are places where it is at rest and should not be.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.filters import UnitCellFilter
from ase.optimize import LBFGS
from numpy.random import Generator

from ..errors import JMPError
from .draws import log_uniform
from .refusals import Refused

FEWEST_STEPS, MOST_STEPS = 3, 40
LARGEST_STEP = 0.15
"""Å of an atom, or of the cell's degrees of freedom."""
STIFFNESS = 25.0
"""First guess of all curvatures, eV/Å²."""
AT_REST = 0.01
"""eV/Å: a crystal whose forces are smaller is left where it is."""
VOLUMES_KEPT = 0.4, 2.5
"""What runs away ends outside these times the volume of the beginning."""


def relaxed(rng: Generator, atoms: Atoms, calculator: Any) -> Atoms:
    """A copy of ``atoms`` after 3 to 40 steps (log-uniform) of relaxation of places and cell.

    Raises:
        Refused: the calculator knows no such structure, or the relaxation ran away.
    """
    made = atoms.copy()
    made.calc = calculator
    steps = round(log_uniform(rng, FEWEST_STEPS, MOST_STEPS))
    try:
        LBFGS(UnitCellFilter(made), maxstep=LARGEST_STEP, alpha=STIFFNESS, logfile=None).run(
            fmax=AT_REST, steps=steps
        )
    except Exception as error:  # any calculator of ASE, each with errors of its own
        fact = error.fact.split(";")[0].rstrip(".") if isinstance(error, JMPError) else type(error).__name__
        raise Refused(f"relaxation: {fact}") from error
    made.calc = None
    growth = made.get_volume() / atoms.get_volume()
    if not (np.isfinite(made.positions).all() and VOLUMES_KEPT[0] < growth < VOLUMES_KEPT[1]):
        raise Refused("relaxation ran away")
    return made
