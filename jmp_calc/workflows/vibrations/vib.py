"""Vibrations of molecules, adsorbates and cells with any ASE calculator.

result = vib(atoms)
result.frequencies_cm1, result.thermo[0].free_energy_ev, result.write("water_vib")
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import JMPWarning, NotConvergedError, UsageError
from ...hessian import Hessian, chosen_atoms
from ...io.outdir import claimed, with_prefix
from ..common import snapshot, warn_if_not_smooth, working_copy
from ..relax import relax as run_relax
from .hessian import hessian_of, way_of
from .infrared import Dipoles, dipole_derivatives, dipole_source, dipoles_of, intensities
from .modes import Floats, NormalModes, free_motions, gathered, normal_modes, shape_of
from .result import OUTPUTS, VibResult
from .settings import Method, ThermoModel, VibSettings
from .symmetry import symmetry_number as found_symmetry
from .thermo import Thermo, counted, harmonic, ideal_gas

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

RESIDUAL_CM1 = 50.0
"""A translation or rotation with more than this is worth a warning."""


def vib(
    atoms: Atoms,
    *,
    calc: Calculator | None = None,
    dipoles: Dipoles | None = None,
    method: Method = VibSettings.method,
    displacement: float = VibSettings.displacement,
    indices: str | Sequence[int] | None = VibSettings.indices,
    relax: bool = VibSettings.relax,
    fmax: float = VibSettings.fmax,
    relax_steps: int = VibSettings.relax_steps,
    allow_unconverged: bool = VibSettings.allow_unconverged,
    thermo: ThermoModel = VibSettings.thermo,
    temperatures: str | Sequence[float] = VibSettings.temperatures,
    pressure_pa: float = VibSettings.pressure_pa,
    symmetry_number: int | None = VibSettings.symmetry_number,
    spin: float = VibSettings.spin,
    tolerance_cm1: float = VibSettings.tolerance_cm1,
    animate: int = VibSettings.animate,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    plot: bool = True,
    quiet: bool = True,
) -> VibResult:
    """Frequencies, modes and thermochemistry of a copy of ``atoms``, whose positions are relaxed first.

    Args:
        atoms: molecule, adsorbate with its surface, or cell; fixed atoms do not vibrate.
        calc: calculator to use; that of ``atoms`` if none is given. Default: None.
        dipoles: what gives dipoles for infrared intensities: a calculator with that property, or a function
            from n structures to dipoles (n, 3) in e Å, such as of ``predict_vectors``; the calculator itself,
            where it has them, if none is given. Default: None.
        method: how the Hessian is computed: "autograd" (by automatic differentiation, which a JMPCalculator
            can), "finite" (central differences of forces, which any calculator can) or "auto". Default:
            "auto".
        displacement: length by which atoms are displaced for finite differences, Å. Default: 0.01.
        indices: atoms that vibrate, such as "0 1 4:7"; all that are not fixed if none are given. Default:
            None.
        relax: relax the positions first; off for a transition state. Default: True.
        fmax: largest force allowed in the structure whose vibrations are computed, eV/Å. Default: 0.0001.
        relax_steps: most steps of the relaxation. Default: 500.
        allow_unconverged: go on when the force limit was not reached. Default: False.
        thermo: thermochemistry: "ideal-gas" (of a free molecule), "harmonic" (of the modes alone), "none", or
            "auto", which takes the first for a free molecule and the second for all else. Default: "auto".
        temperatures: temperatures of the thermochemistry, K, such as "298.15 500". Default: "298.15".
        pressure_pa: pressure of the ideal gas, Pa. Default: 100000.0.
        symmetry_number: symmetry number of the molecule; found from the positions if none is given. Default:
            None.
        spin: total electronic spin of the molecule, 0.5 for one unpaired electron; only its entropy is
            counted. Default: 0.0.
        tolerance_cm1: modes above minus this are not named as imaginary, modes below this are left out of the
            thermochemistry, cm⁻¹. Default: 10.0.
        animate: modes, from the lowest, whose motion is written. Default: 60.
        out: folder for tables, modes and the figure; nothing is written without one. Default: None.
        prefix: PREFIX- before every file name. Default: "".
        plot: draw a figure of the spectrum into the folder. Default: True.
        quiet: no progress bar. Default: True.

    Returns:
        VibResult; translations and rotations are apart from the modes.

    Raises:
        UsageError: no calculator, settings that cannot be meant or do not fit the structure, constraints
            other than fixed atoms, no atom that may vibrate, a folder into which another job writes.
        BadStructureError: a structure that cannot be evaluated.
        NotConvergedError: forces above ``fmax``, unless ``allow_unconverged``.
        BadInputError: forces that are not finite.
        Interrupted: after SIGINT or SIGTERM.
    """
    settings = VibSettings(
        method=method,
        displacement=displacement,
        indices=indices if indices is None or isinstance(indices, str) else tuple(indices),
        relax=relax,
        fmax=fmax,
        relax_steps=relax_steps,
        allow_unconverged=allow_unconverged,
        thermo=thermo,
        temperatures=temperatures if isinstance(temperatures, str) else tuple(np.atleast_1d(temperatures)),
        pressure_pa=pressure_pa,
        symmetry_number=symmetry_number,
        spin=spin,
        tolerance_cm1=tolerance_cm1,
        animate=animate,
    )
    work = working_copy(atoms, calc)
    chosen = vibrating(work, settings)
    way_of(work, settings)
    if (source := dipole_source(work, dipoles)) is not None:
        dipoles_of([work], source)  # what is wrong with them is told before the Hessian is computed
    with claimed(out, (with_prefix(name, prefix) for name in OUTPUTS)):
        warn_if_not_smooth(work)
        start, reached = _start_structure(work, settings, quiet)
        result = _computed(start, chosen, reached, settings, dipoles, quiet)
        if out is not None:
            result.write(out, prefix=prefix, plot=plot)
    return result


def vibrating(atoms: Atoms, settings: VibSettings) -> NDArray[np.int64]:
    """Numbers (n,) of the atoms that vibrate, after refusing what cannot be computed.

    Raises:
        UsageError: constraints other than fixed atoms, atoms that are named and fixed, no atom left, one
            without mass, a gas of what is no free molecule.
    """
    from ase.constraints import FixAtoms

    other = [type(c).__name__ for c in atoms.constraints if not isinstance(c, FixAtoms)]
    if other:
        fact = f"Vibrations know no constraints but fixed atoms, the structure has {other[0]}."
        raise UsageError(fact, hint="take it off (atoms.set_constraint()), or name the atoms with indices")
    fixed = {int(i) % len(atoms) for c in atoms.constraints for i in c.index}  # -1 is the last
    if settings.indices is None:
        chosen = np.array([i for i in range(len(atoms)) if i not in fixed], dtype=np.int64)
    else:
        assert not isinstance(settings.indices, str)  # the settings have read them
        chosen = chosen_atoms(settings.indices, len(atoms))
    if not len(chosen):
        raise UsageError("Every atom is fixed: nothing vibrates.", hint="leave some atoms free")
    named = sorted(fixed & set(chosen.tolist()))
    if named:
        raise UsageError(f"Atom {named[0]} is to vibrate and is fixed.", hint="leave it out of the indices")
    masses = atoms.get_masses()[chosen]
    if not (np.isfinite(masses) & (masses > 0)).all():
        raise UsageError("Every atom needs a positive mass.", where=f"atom {chosen[masses.argmin()]}")
    if settings.thermo == "ideal-gas" and not _is_free_molecule(atoms, chosen):
        fact = "Only a free molecule, all of whose atoms vibrate, is an ideal gas."
        raise UsageError(fact, hint="choose thermo 'harmonic', or pbc=False and no fixed atoms")
    return chosen


def _is_free_molecule(atoms: Atoms, chosen: NDArray[np.int64]) -> bool:
    return len(chosen) == len(atoms) and len(gathered(atoms)[1]) == 3


def _start_structure(atoms: Atoms, settings: VibSettings, quiet: bool) -> tuple[Atoms, float]:
    """Relaxed positions (or those given, checked) and their largest force, eV/Å."""
    start = atoms
    if settings.relax:
        result = run_relax(atoms, fmax=settings.fmax, steps=settings.relax_steps, quiet=quiet)
        start = result.atoms
    reached = float(np.linalg.norm(start.get_forces(), axis=1).max())
    if not reached <= settings.fmax and not settings.allow_unconverged:
        raise NotConvergedError(
            f"The structure is not relaxed: the force is {reached:.2g} eV/Å, vibrations need "
            f"{settings.fmax:g}.",
            where="pre-relaxation" if settings.relax else "start structure (--no-relax)",
            hint="relax it further (--dtype float64), or go on with --allow-unconverged",
        )
    return start, reached


def _computed(
    start: Atoms,
    chosen: NDArray[np.int64],
    fmax: float,
    settings: VibSettings,
    dipoles: Dipoles | None,
    quiet: bool,
) -> VibResult:
    """Hessian, modes and thermochemistry put together; warns of what makes them doubtful."""
    hessian = hessian_of(start, chosen, settings, quiet)
    whole, axes = gathered(start)
    modes = _modes(whole, hessian, axes)
    _warn_of_residuals(modes)
    gas = _is_free_molecule(start, chosen)
    symmetry = settings.symmetry_number
    if not (gas and len(start) > 1):
        symmetry = None
    elif symmetry is None:
        symmetry = found_symmetry(whole.numbers, whole.positions, whole.get_masses())
    frame = snapshot(start)
    return VibResult(
        atoms=frame,
        hessian=hessian,
        method=way_of(start, settings),
        modes=modes,
        thermo=_thermo(whole, modes, frame.get_potential_energy(), gas, symmetry or 1, settings),
        symmetry_number=symmetry,
        fmax=fmax,
        settings=settings,
        infrared_km_per_mol=_infrared(start, chosen, modes, settings, dipoles),
    )


def _infrared(
    start: Atoms,
    chosen: NDArray[np.int64],
    modes: NormalModes,
    settings: VibSettings,
    dipoles: Dipoles | None,
) -> Floats | None:
    """Intensities (m,); None without dipoles, and of what repeats without vacuum, which has none."""
    source = dipole_source(start, dipoles)
    if source is None:
        return None
    if len(gathered(start)[1]) < 3:
        if dipoles is not None:
            text = "no infrared intensities: a structure that repeats without vacuum has no dipole"
            warnings.warn(text, JMPWarning, stacklevel=4)
        return None
    return intensities(modes, dipole_derivatives(start, chosen, settings.displacement, source))


def _modes(whole: Atoms, hessian: Hessian, axes: Floats) -> NormalModes:
    """Modes without the free motions, which only a structure has all of whose atoms vibrate."""
    chosen = hessian.indices
    masses = whole.get_masses()[chosen]
    if len(chosen) < len(whole):
        return normal_modes(hessian.square, masses, None, np.zeros((3 * len(chosen), 0)))
    return normal_modes(hessian.square, masses, *free_motions(whole.positions[chosen], masses, axes))


def _thermo(
    whole: Atoms, modes: NormalModes, potential_ev: float, gas: bool, symmetry: int, settings: VibSettings
) -> tuple[Thermo, ...]:
    if settings.thermo == "none":
        return ()
    energies = counted(modes.frequencies_cm1, settings.tolerance_cm1)
    if settings.thermo == "harmonic" or not gas:
        return tuple(harmonic(energies, potential_ev, settings))
    shape = shape_of(len(modes.rotations_cm1))
    return tuple(ideal_gas(energies, potential_ev, whole, shape, symmetry, settings))


def _warn_of_residuals(modes: NormalModes) -> None:
    """JMPWarning where the Hessian resists a translation or a rotation."""
    for what, found, reason in (
        ("translation", modes.translations_cm1, "the forces do not sum up to zero"),
        ("rotation", modes.rotations_cm1, "lower fmax, or displacements"),
    ):
        if len(found) and np.abs(found).max() > RESIDUAL_CM1:
            worst = float(found[np.abs(found).argmax()])
            text = f"the Hessian gives a {what} {worst:.1f} cm-1 instead of 0: {reason}"
            warnings.warn(text, JMPWarning, stacklevel=4)
