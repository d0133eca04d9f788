"""The best place of an adsorbate on any slab: sites by geometry, orientations, relaxation of all, a ranking.

result = adsorb(slab, "CO")
result.best.adsorption_ev, result.best.site.name, result.best.atoms
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arguments import one_structure
from ...bonding import bonds_of
from ...errors import BadInputError, UsageError
from ...io.outdir import claimed, with_prefix
from ...io.structures import NamedFrame
from ...lattice import VACUUM
from ..common import warn_if_not_smooth, working_copy
from ..energy_sums import check_one_method, check_zero
from ..relax_each import TOGETHER
from ..relax_many import ManyRun
from ..relax_settings import RelaxSettings
from .adsorb_result import OUTPUTS, Adsorbed, AdsorbResult
from .adsorb_settings import AdsorbSettings, Orientations
from .energies import adsorption_energy
from .parts import check_adsorbate
from .placing import Candidate, candidates_of, gas, molecule_named
from .sites import Face, Site, face_of, nearest_site, sites_of
from .sums import EnergySum, open_of_slab
from .together import evaluated, kept_relaxations, relaxed

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

BOUND = 1.5
"""An adsorbate is on the surface where an atom is nearer to the slab than this times the sum of radii."""


def adsorb(
    slab: Atoms,
    adsorbate: Atoms | str,
    *,
    calc: Calculator | None = None,
    sites: str | Sequence[str] = AdsorbSettings.sites,
    orientations: Orientations = AdsorbSettings.orientations,
    turns: int = AdsorbSettings.turns,
    fix_bottom: float = AdsorbSettings.fix_bottom,
    relax: bool = AdsorbSettings.relax,
    fmax: float = AdsorbSettings.fmax,
    steps: int = AdsorbSettings.steps,
    resume: bool = False,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    plot: bool = True,
    quiet: bool = True,
) -> AdsorbResult:
    """Put an adsorbate on all sites of a slab in several orientations, relax all side by side, and rank them.

    Args:
        slab: the bare surface, with vacuum along one direction; its upper face is covered, its constraints
            hold.
        adsorbate: the molecule in the gas, or its name in ASE's G2 set ("CO", "H2O"), or an element.
        calc: calculator of all structures; that of the slab if none is given. Default: None.
        sites: kinds of sites, of "ontop", "bridge" and "hollow". Default: "ontop bridge hollow".
        orientations: "scan" points both ways of every axis of the molecule to the surface, "given" leaves it
            as it is, the z axis along the normal. Default: "scan".
        turns: turns about the normal of each, spread over half a circle. Default: 2.
        fix_bottom: share of the height of the slab, from below, whose atoms are fixed; 0 leaves its own
            constraints. Default: 0.0.
        relax: relax slab, molecule and all candidates; off, the energies are of the structures as they are
            put. Default: True.
        fmax: largest force left by relaxations, eV/Å. Default: 0.02.
        steps: most steps of each relaxation. Default: 300.
        resume: take the relaxations that a killed run left in the folder, and do the others. Default: False.
        out: folder for structures, table and figure; nothing is written without one. Default: None.
        prefix: PREFIX- before every file name. Default: "".
        plot: draw a figure of sites and energies into the folder. Default: True.
        quiet: no progress bar. Default: True.

    Returns:
        AdsorbResult, the most stable first; a candidate that fails is kept with its reason.

    Raises:
        UsageError: no calculator, a name that is no molecule, no site of the wanted kind, not enough vacuum,
            settings that cannot be meant, a folder into which another job writes.
        BadStructureError: a slab or molecule that is none. ModelError: a head without atomic reference.
        NotConvergedError: the bare slab or the molecule was not relaxed. BadInputError: every candidate
            failed. Interrupted: after SIGINT or SIGTERM.
    """
    settings = AdsorbSettings(
        sites=sites if isinstance(sites, str) else tuple(sites),
        orientations=orientations,
        turns=turns,
        fix_bottom=fix_bottom,
        relax=relax,
        fmax=fmax,
        steps=steps,
    )
    open_of_slab(one_structure(slab, "slab"))  # before a head is decided by what is no slab
    work = working_copy(slab, calc)
    molecule = gas_of(adsorbate)
    molecule.calc = work.calc
    check_one_method({"slab": work, "adsorbate": molecule})
    check_zero({"slab": work, "adsorbate": molecule})
    with claimed(out, (with_prefix(name, prefix) for name in OUTPUTS)):
        warn_if_not_smooth(work)
        journal = kept_relaxations(out, prefix, resume=resume)
        result = _computed(work, molecule, settings, journal, quiet)
        if out is not None:
            result.write(out, prefix=prefix, plot=plot)
    return result


def gas_of(adsorbate: Atoms | str) -> Atoms:
    """The molecule in the gas, in a box of vacuum.

    Raises:
        UsageError: a name that is no molecule. BadStructureError: one that repeats without vacuum.
    """
    found = molecule_named(adsorbate) if isinstance(adsorbate, str) else adsorbate
    if found is None:
        raise UsageError(
            f"'{adsorbate}' is no molecule of ASE's G2 set and no element.",
            hint="give a file with the molecule, or a name such as CO, H2O, CH3OH",
        )
    alone = gas(found)
    check_adsorbate(alone)
    return alone


def planned(slab: Atoms, molecule: Atoms, settings: AdsorbSettings) -> tuple[Face, list[Candidate]]:
    """The face of a slab and what is put onto it.

    Raises:
        BadStructureError: no slab. UsageError: no site of the wanted kind, not enough vacuum.
    """
    body = molecule.positions - molecule.positions.mean(axis=0)
    face = face_of(slab, float(np.linalg.norm(body, axis=1).max()))
    if settings.fix_bottom:
        _fix_bottom(face, settings.fix_bottom)
    candidates = candidates_of(face, molecule, settings)
    if not candidates:
        kinds = ", ".join(dict.fromkeys(site.name for site in sites_of(face)))
        raise UsageError("This surface has no site of the kind that is wanted.", hint=f"it has {kinds}")
    if slab.pbc[face.axis]:
        top = max(float((one.atoms.positions @ face.axes[2]).max()) for one in candidates)
        low = float((face.slab.positions @ face.axes[2]).min())
        left = abs(float(face.slab.cell.array[face.axis] @ face.axes[2])) - (top - low)
        if left < VACUUM:
            raise UsageError(
                f"With the adsorbate, the vacuum above the slab is {left:.1f} Å: it would touch the image of "
                "the slab.",
                hint=f"widen it first: atoms.center(vacuum=10, axis={face.axis})",
            )
    return face, candidates


def _fix_bottom(face: Face, share: float) -> None:
    from ase.constraints import FixAtoms

    height = face.slab.positions @ face.axes[2]
    below = height < height.min() + share * np.ptp(height) + 1e-6
    face.slab.set_constraint(FixAtoms(np.flatnonzero(below)))


def _computed(
    work: Atoms, molecule: Atoms, settings: AdsorbSettings, journal: Path | None, quiet: bool
) -> AdsorbResult:
    """References, candidates, their ends, and the ranking."""
    face, candidates = planned(work, molecule, settings)
    bare, alone = face.slab.copy(), molecule
    bare.calc = work.calc
    if settings.relax:
        how: dict[str, Any] = {"fmax": settings.fmax, "steps": settings.steps, "quiet": quiet}
        (bare,) = relaxed([bare], allow_unconverged=False, what="bare slab", **how)
        (alone,) = relaxed([alone], allow_unconverged=False, what="molecule", **how)
    for one in candidates:
        one.atoms.calc = work.calc
    ended = _ended(candidates, settings, journal, quiet)
    sound = [atoms for atoms in ended if not isinstance(atoms, str)]
    if not sound:
        raise BadInputError("Every candidate failed.", where=f"the first: {ended[0]}")
    reference = _reference(sound, bare, alone, settings)
    rest = reference.energy_ev - reference.terms[0].energy_ev
    kinds = sites_of(face)
    rows = [
        _row(number, one, atoms, rest, face, kinds, molecule, settings)
        for number, (one, atoms) in enumerate(zip(candidates, ended, strict=True))
    ]
    rows.sort(key=lambda row: np.inf if row.adsorption_ev is None else row.adsorption_ev)
    return AdsorbResult(tuple(rows), reference, tuple(kinds), face, bare, alone, settings)


def _ended(
    candidates: Sequence[Candidate], settings: AdsorbSettings, journal: Path | None, quiet: bool
) -> list[Atoms | str]:
    """Each candidate with its energy and forces, or why it has none; relaxations side by side, kept in the
    journal as they end."""
    structures = [one.atoms for one in candidates]
    if not settings.relax:
        return list(evaluated(structures, ["energy", "forces"], what="candidate", quiet=quiet))
    frames = [NamedFrame(atoms, "", number) for number, atoms in enumerate(structures)]
    run = ManyRun(frames, RelaxSettings(fmax=settings.fmax, steps=settings.steps), None, TOGETHER)
    outcomes = [row.outcome for row in run.result(journal, quiet=quiet).rows]
    return [str(one.error) if one.atoms is None or one.status == "failed" else one.atoms for one in outcomes]


def _reference(sound: Sequence[Atoms], bare: Atoms, alone: Atoms, settings: AdsorbSettings) -> EnergySum:
    """The adsorption energy of the lowest candidate, by the machinery of ``energies adsorption``."""
    lowest = min(sound, key=lambda atoms: atoms.get_potential_energy(apply_constraint=False)).copy()
    return adsorption_energy(lowest, bare, alone, calc=bare.calc, fmax=settings.fmax)


def _row(
    number: int,
    one: Candidate,
    end: Atoms | str,
    rest: float,
    face: Face,
    kinds: Sequence[Site],
    molecule: Atoms,
    settings: AdsorbSettings,
) -> Adsorbed:
    """What became of a candidate."""
    if isinstance(end, str):
        return Adsorbed(number, one, None, None, None, None, None, None, end)
    count = len(molecule)
    energy = float(end.get_potential_energy(apply_constraint=False))
    fmax = float(np.linalg.norm(end.get_forces(), axis=1).max())
    lowest = end.positions[-count:] @ face.axes.T
    low = lowest[:, 2] < lowest[:, 2].min() + 0.3
    site = nearest_site(face, kinds, lowest[low, :2].mean(axis=0))
    return Adsorbed(
        number=number,
        start=one,
        atoms=end,
        adsorption_ev=energy + rest,
        fmax=fmax,
        site=site,
        intact=_bonds(end[-count:]) == _bonds(molecule),
        bound=_is_bound(end, count),
        error="" if fmax <= settings.fmax or not settings.relax else "not converged",
    )


def _bonds(molecule: Atoms) -> list[tuple[int, int]]:
    return bonds_of(
        molecule.numbers, molecule.positions, molecule.cell.complete().array, np.array(molecule.pbc)
    )


def _is_bound(end: Atoms, count: int) -> bool:
    """Whether the adsorbate still touches the slab."""
    from ase.data import covalent_radii
    from ase.geometry import get_distances

    on, below = end[-count:], end[:-count]
    _, apart = get_distances(on.positions, below.positions, cell=end.cell, pbc=end.pbc)
    sums = covalent_radii[on.numbers][:, None] + covalent_radii[below.numbers][None]
    return bool((apart < BOUND * sums).any())
