"""Dynamics at constant energy keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..md import md
from ..relax import relax
from .subjects import name_of
from .verdict import Measured, NotApplicable

if TYPE_CHECKING:
    from .probe import Probe
    from .subjects import Subjects

TEMPERATURE_K, TIMESTEP_FS, STEPS = 200.0, 0.5, 1000
FMAX, RELAX_STEPS = 0.05, 200
"""The run starts near rest: what falls into a minimum would be hot."""


def nve(probe: Probe, subjects: Subjects) -> Measured:
    """Drift of the total energy beyond two standard errors, meV per atom and ps, in a short run of a
    relaxed molecule, else of a crystal."""
    pool = (*subjects.molecules, *subjects.periodic)
    if not pool:
        raise NotApplicable("the calculator computes none of the structures of this check")
    atoms = pool[0]
    start = relax(atoms, calc=probe.calculator(atoms), fmax=FMAX, steps=RELAX_STEPS).atoms
    result = md(
        start,
        calc=probe.calculator(atoms),
        ensemble="nve",
        temperature_k=TEMPERATURE_K,
        timestep_fs=TIMESTEP_FS,
        steps=STEPS,
        seed=probe.seed,
        stats_every=5,
    )
    if result.drift is None:
        raise NotApplicable("the run was too short to tell")
    slope, error = result.drift.drift_mev_per_atom_per_ps, result.drift.standard_error
    return Measured(
        max(abs(slope) - 2 * error, 0.0), name_of(atoms), f"{slope:.2g} ± {error:.1g}, {result.time_ps:g} ps"
    )
