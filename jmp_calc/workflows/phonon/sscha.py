"""Phonons at a temperature by the stochastic self-consistent harmonic approximation, with any ASE calculator.

result = sscha(atoms, temperature_k=300, supercell="2 2 2")
result.frequencies_thz, result.harmonic_thz, result.free_energy_ev, result.write("si_300")

phonopy draws the displacements and fits the force constants (phonopy.sscha); the forces are ours, in batches.
I. Errea, M. Calandra and F. Mauri, Phys. Rev. B 89, 064302 (2014); A. van Roekeghem, J. Carrete and N. Mingo,
Comput. Phys. Commun. 263, 107945 (2021).
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UsageError
from ...io.outdir import claimed, with_prefix
from ...io.summary import plain
from ...units import KJ_MOL
from ..batches import computed
from ..common import warn_if_not_smooth, working_copy
from ..kept import Kept, digest, kept_in
from . import glue
from .cell import boxed, check_lattice, residual_stress, warn_of_strain
from .nac import non_analytical
from .phonons import displacements, forces_of, put_back, start_structure
from .settings import FrequencyUnit
from .sscha_result import OUTPUTS, Iteration, SschaResult
from .sscha_settings import SschaSettings

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

ENERGIES = ("free_energy", "error", "harmonic", "anharmonic")
"""What an iteration says, eV per primitive cell."""


def sscha(
    atoms: Atoms,
    *,
    calc: Calculator | None = None,
    temperature_k: float = SschaSettings.temperature_k,
    snapshots: int = SschaSettings.snapshots,
    iterations: int = SschaSettings.iterations,
    transient: int = SschaSettings.transient,
    tolerance_thz: float = SschaSettings.tolerance_thz,
    seed: int = SschaSettings.seed,
    supercell: str | Sequence[int] = SschaSettings.supercell,
    min_length: float = SschaSettings.min_length,
    displacement: float = SschaSettings.displacement,
    mesh: str | Sequence[int] = SschaSettings.mesh,
    bands: str = SschaSettings.bands,
    band_points: int = SschaSettings.band_points,
    relax: bool = SschaSettings.relax,
    fmax: float = SschaSettings.fmax,
    relax_steps: int = SschaSettings.relax_steps,
    allow_unconverged: bool = SschaSettings.allow_unconverged,
    symprec: float = SschaSettings.symprec,
    imaginary_tolerance_thz: float = SschaSettings.imaginary_tolerance_thz,
    born: str | os.PathLike[str] | None = SschaSettings.born,
    frequency_unit: FrequencyUnit = SschaSettings.frequency_unit,
    resume: bool = False,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    plot: bool = True,
    quiet: bool = True,
) -> SschaResult:
    """Phonons of ``atoms`` at a temperature: the harmonic ones that are nearest to the motion at it.

    Args:
        atoms: crystal, layer or wire, in the cell that it has at the temperature; the cell is not changed.
        calc: calculator to use; that of ``atoms`` if none is given. Default: None.
        temperature_k: temperature, K; at 0 K the zero-point motion is left. Default: 300.0.
        snapshots: supercells with random displacements in each iteration. Default: 100.
        iterations: times that displacements are drawn and force constants fitted. Default: 10.
        transient: first iterations that are no part of the averages. Default: 4.
        tolerance_thz: the frequencies count as converged when those of the first and of the second half of
            the averaged iterations differ by less, THz. Default: 0.1.
        seed: seed of the random displacements. Default: 0.
        supercell: "auto" (periodic images of an atom at least ``min_length`` apart), three multiples such as
            "2 2 2", or nine numbers of a matrix, row by row. Default: "auto".
        min_length: shortest distance between an atom and its image in an automatic supercell, Å. Default:
            12.0.
        displacement: length by which atoms are displaced for the phonons at rest, which the iterations start
            from, Å. Default: 0.01.
        mesh: q-points of the free energy, "auto" or three numbers such as "20 20 20". Default: "auto".
        bands: path of the bands, "auto" or labels of q-points such as "G X, K G L", where a comma starts a
            new piece. Default: "auto".
        band_points: q-points on the longest piece of the path. Default: 51.
        relax: relax the positions first. Default: True.
        fmax: largest force allowed in the structure before atoms are displaced, eV/Å. Default: 0.0001.
        relax_steps: most steps of the relaxation. Default: 500.
        allow_unconverged: go on when the force limit was not reached. Default: False.
        symprec: deviations from symmetry below this are ignored, Å. Default: 1e-05.
        imaginary_tolerance_thz: frequencies below minus this count as imaginary, THz. Default: 0.1.
        born: file with dielectric tensor and Born charges in phonopy's BORN format; they split LO from TO at
            Γ. Default: None.
        frequency_unit: unit of the axes of the figures, "THz", "cm-1" or "meV"; files stay in THz. Default:
            "THz".
        resume: take what the folder holds already of an earlier run with the same structure and model, and
            compute the rest; other settings may change. Default: False.
        out: folder for phonopy's files and the figures; nothing is written without one. Default: None.
        prefix: PREFIX- before every file name. Default: "".
        plot: draw figures of the bands and of the iterations into the folder. Default: True.
        quiet: no progress bar. Default: True.

    Returns:
        SschaResult; look at ``converged``, nothing is raised when ``iterations`` did not suffice.

    Raises:
        BadStructureError: no lattice, atoms that feel no force.
        UsageError: no calculator, settings that cannot be meant, constraints, a folder into which another job
            writes or that holds another run to be resumed.
        NotConvergedError: forces above ``fmax`` before the displacements, unless ``allow_unconverged``.
        BadInputError: results that are not finite, a BORN file that is none of this crystal.
        Interrupted: after SIGINT or SIGTERM.
    """
    settings = SschaSettings(
        temperature_k=temperature_k,
        snapshots=snapshots,
        iterations=iterations,
        transient=transient,
        tolerance_thz=tolerance_thz,
        seed=seed,
        supercell=supercell if isinstance(supercell, str) else tuple(supercell),
        min_length=min_length,
        displacement=displacement,
        mesh=mesh if isinstance(mesh, str) else tuple(mesh),
        bands=bands,
        band_points=band_points,
        relax=relax,
        fmax=fmax,
        relax_steps=relax_steps,
        allow_unconverged=allow_unconverged,
        symprec=symprec,
        imaginary_tolerance_thz=imaginary_tolerance_thz,
        born=None if born is None else os.fspath(born),
        frequency_unit=frequency_unit,
    )
    glue.require_phonopy()
    work = working_copy(atoms, calc)
    check_lattice(work)
    with claimed(out, (with_prefix(name, prefix) for name in OUTPUTS)):
        warn_if_not_smooth(work)
        kept = kept_in(out, prefix, work, what="sscha", resume=resume)
        result = _computed(work, settings, quiet, kept)
        if out is not None:
            result.write(out, prefix=prefix, plot=plot)
    return result


def _computed(work: Atoms, settings: SschaSettings, quiet: bool, kept: Kept | None) -> SschaResult:
    """Phonons at rest, iterations, averages."""
    given, of_phonons = boxed(work), settings.of_phonons()
    check_snapshots(displacements(given, of_phonons)[0], settings)  # before anything is computed
    start, reached = start_structure(given, of_phonons, quiet, kept)
    cold, box, periodic = displacements(start, of_phonons)
    warn_of_strain(residual_stress(box, periodic))
    path = glue.solve(cold, forces_of(glue.ase_supercells(cold, box), quiet, kept), of_phonons, box, periodic)
    # kept, so that a resumed run starts from the same bits, and draws the same displacements
    words = f"at rest {of_phonons.displacement} {cold.supercell_matrix.tolist()} {digest(start)}"
    at_rest = once(kept, words, lambda: {"constants": compact(cold, cold.force_constants)})["constants"]
    evaluator = Evaluator(cold, box, quiet, kept)
    steps, constants = iterate(cold, at_rest, evaluator, settings, (box, periodic), kept)
    warm, _, _ = displacements(start, of_phonons)
    kept_constants = constants[settings.transient :]
    warm.force_constants = np.mean(kept_constants, axis=0)
    glue.analyse(warm, of_phonons, box, periodic)
    return SschaResult(
        atoms=put_back(start, given, work),
        phonopy=warm,
        phonopy_at_rest=cold,
        band_path=path.source,
        steps=steps,
        drift_thz=_drift(warm, kept_constants),
        static_energy_ev=evaluator.energy_at_rest * len(cold.primitive) / len(cold.supercell),
        harmonic_free_energy_ev=_harmonic_free_energy(cold, settings.temperature_k),
        per=glue.per_primitive(cold),
        non_analytical=non_analytical(cold, periodic, settings.born),
        fmax=reached,
        settings=settings,
    )


class Evaluator:
    """What phonopy asks for energies and forces, in the place of its own potentials: a calculator."""

    def __init__(self, phonon: Any, atoms: Atoms, quiet: bool, kept: Kept | None) -> None:
        """``atoms``: the boxed unit cell with its calculator."""
        self._supercell, self._atoms, self._quiet, self._kept = phonon.supercell, atoms, quiet, kept
        self._rest = self._results([phonon.supercell], "supercell")
        self.energy_at_rest = float(self._rest[0]["energy"])
        """Of the supercell without displacements, eV."""
        self.title = "sscha"

    def evaluate(self, supercells: Sequence[Any]) -> tuple[np.ndarray, np.ndarray, None]:
        """Energies (n,) in eV and forces (n, n_atoms, 3) in eV/Å of phonopy's supercells."""
        if len(supercells) == 1:  # MLPSSCHA asks for the one at rest each time
            results = self._rest
        else:
            results = self._results(supercells, self.title)
        energies, forces = ([one[name] for one in results] for name in ("energy", "forces"))
        return np.array(energies), np.array(forces), None

    def _results(self, supercells: Sequence[Any], title: str) -> list[dict[str, Any]]:
        return computed(
            glue.as_ase(supercells, self._supercell, self._atoms),
            ["energy", "forces"],
            bar=title,
            name=lambda number: f"displaced supercell {number}",
            done="displaced supercells of this iteration were done",
            quiet=self._quiet,
            kept=self._kept,
        )


def iterate(
    phonon: Any,
    at_rest: np.ndarray,
    evaluator: Evaluator,
    settings: SschaSettings,
    box: tuple[Atoms, np.ndarray],
    kept: Kept | None,
) -> tuple[tuple[Iteration, ...], list[np.ndarray]]:
    """Draw displacements from force constants, fit new ones to the forces, and again.

    Args:
        phonon: phonopy's object of the phonons at rest.
        at_rest: compact force constants (n_primitive, n_supercell, 3, 3) to start from, eV/Å².
        evaluator: energies and forces.
        settings: temperature, numbers.
        box: the boxed structure, and its periodic directions (3,).
        kept: iterations that were done already are taken from it.

    Returns:
        the iterations, and the compact force constants that each of them ends with.
    """
    mesh = glue.chosen_mesh(phonon, settings.of_phonons(), *box)
    # what the amplitudes of displacements and the harmonic energies depend on, beside the force constants
    masses, charges = _sha256(phonon.masses), json.dumps(plain(phonon.nac_params))
    drawn = f"{settings.temperature_k} {settings.snapshots} {mesh} {settings.symprec} {masses} {charges}"
    steps: list[Iteration] = []
    constants: list[np.ndarray] = [at_rest]
    for number in range(1, settings.iterations + 1):
        evaluator.title = f"sscha {number}/{settings.iterations}"
        seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
        before = constants[-1]
        words = f"iteration {drawn} {seed} {_sha256(before)}"
        run = functools.partial(_iteration, phonon, before, evaluator, settings, mesh, seed)
        found = once(kept, words, run)
        constants.append(found["constants"])
        steps.append(Iteration(number, *(float(found[name]) for name in ENERGIES)))
    return tuple(steps), constants[1:]


def _iteration(
    phonon: Any,
    before: np.ndarray,
    evaluator: Evaluator,
    settings: SschaSettings,
    mesh: float | list[int],
    seed: int,
) -> dict[str, Any]:
    """One iteration by phonopy: the free energy of the force constants ``before`` it, and those after."""
    from phonopy.sscha.core import MLPSSCHA

    source = phonon.replicate()
    source.nac_params = phonon.nac_params
    source.force_constants = before
    with glue.quiet_meshes():
        run = MLPSSCHA(
            source,
            evaluator,  # type: ignore[arg-type]  # it asks for evaluate(supercells) only
            temperature=settings.temperature_k,
            number_of_snapshots=settings.snapshots,
            max_iterations=1,
            mesh=mesh,
            random_seed=seed,
        )
        next(run)
    (step,) = run.history
    energies = (step.free_energy, step.free_energy_error, step.harmonic, step.anharmonic)
    return {"constants": compact(phonon, run.force_constants), **dict(zip(ENERGIES, energies, strict=True))}


def compact(phonon: Any, constants: np.ndarray) -> np.ndarray:
    """Force constants (n_primitive, n_supercell, 3, 3): the rows of the primitive cell's atoms."""
    from phonopy.harmonic.force_constants import full_fc_to_compact_fc

    if len(constants) < len(phonon.supercell):
        return np.array(constants)
    return np.array(full_fc_to_compact_fc(phonon.primitive, constants))


def check_snapshots(phonon: Any, settings: SschaSettings) -> None:
    """UsageError for fewer snapshots than determine the force constants."""
    enough = glue.fewest_random(phonon)
    if settings.snapshots < enough:
        raise UsageError(
            f"{settings.snapshots} snapshots do not determine the force constants, {enough} may.",
            hint="give more --snapshots, or a smaller --supercell",
        )


def once(kept: Kept | None, name: str, compute: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """What is kept, or else computed, and kept where there is a folder."""
    return compute() if kept is None else kept.once(name, compute)


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _drift(warm: Any, constants: Sequence[np.ndarray]) -> float:
    """Largest difference along the path between the frequencies of two halves of the iterations, THz."""
    qpoints = np.concatenate(warm.band_structure.qpoints)
    found = []
    for half in (constants[: len(constants) // 2], constants[len(constants) // 2 :]):
        other = warm.replicate()  # new force constants would take its bands from it
        other.nac_params, other.force_constants = warm.nac_params, np.mean(half, axis=0)
        found.append(np.array(other.run_qpoints(qpoints).frequencies))
    return float(np.abs(found[1] - found[0]).max())


def _harmonic_free_energy(cold: Any, kelvin: float) -> float:
    """Of the phonons at rest, eV per primitive cell; imaginary modes are no part of it."""
    found = cold.run_thermal_properties(temperatures=[kelvin], exclude_gamma_acoustic=True)
    return float(found.free_energy[0]) * KJ_MOL
