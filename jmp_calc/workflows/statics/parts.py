"""Whether structures belong together in a sum: a compound and references, slab and adsorbate or bulk."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...arguments import one_structure, structure_list
from ...checks import check_sound, describe_constraints
from ...errors import BadStructureError, JMPWarning, UsageError
from .crystal import check_crystal
from .sums import Part, open_directions, open_of_slab

if TYPE_CHECKING:
    from ase import Atoms

SAME_CELL_A = 1e-3
"""Cell vectors that differ by more are of two cells, Å."""
MOVED_A = 1.5
"""An atom of a slab that is farther from any of its kind in the covered one has gone, Å."""
OTHER_LATTICE = 0.02
"""Distances of neighbours that differ by more of themselves are of two lattices."""
NEIGHBOUR_REACH_A = 3.5
LONE_BOX_A = 30.0
"""Images of a lone atom are so far apart."""
SYMPREC_A = 0.05
"""Faces of a slab that differ by less are alike."""


def formation_parts(atoms: Atoms, references: Iterable[Atoms]) -> list[Part]:
    """A compound less what it forms from; the errors of ``reference_amounts``."""
    references = structure_list(references, "references")
    parts = [Part("compound", one_structure(atoms), 1.0)]
    for number, amount in enumerate(reference_amounts(atoms, references)):
        if amount:
            name = f"reference {number} ({references[number].get_chemical_formula()})"
            parts.append(Part(name, references[number], -float(amount)))
    return parts


def atomisation_parts(atoms: Atoms) -> list[Part]:
    """The lone atoms of a structure, by element, less the structure.

    Those of a periodic structure are in a periodic box of vacuum, so that a model with a head for molecules
    and one for crystals computes all with the latter.
    """
    from ase import Atoms as Structure

    symbols = atoms.get_chemical_symbols()
    periodic = bool(atoms.pbc.any())
    box = {"cell": [LONE_BOX_A] * 3, "pbc": True} if periodic else {}
    lone = [
        Part(f"atom {symbol}", Structure(symbol, **box), float(symbols.count(symbol)))
        for symbol in sorted(set(symbols))
    ]
    return [Part("structure", atoms, -1.0), *lone]


def adsorption_parts(adsorbed: Atoms, slab: Atoms, adsorbate: Atoms) -> list[Part]:
    """A covered slab less the bare one and the molecules in the gas; the errors of ``check_adsorbate`` and
    ``adsorbed_count``."""
    check_adsorbate(adsorbate)
    count = adsorbed_count(adsorbed, slab, adsorbate)
    return [
        Part("covered slab", adsorbed, 1.0),
        Part("bare slab", slab, -1.0),
        Part("adsorbate", adsorbate, -float(count)),
    ]


def surface_parts(slab: Atoms, bulk: Atoms, surface: Surface) -> list[Part]:
    """A slab less its bulk, as ``check_surface`` counted it."""
    return [Part("slab", slab, 1.0), Part("bulk", bulk, -surface.n_bulk)]


def reference_amounts(atoms: Atoms, references: Sequence[Atoms]) -> np.ndarray:
    """How many of each reference (n_references,) make up a compound; 0 of those that it does not need.

    Raises:
        UsageError: elements without reference, references that cannot make it up, or in several ways.
        BadStructureError: one that cannot be evaluated.
    """
    for structure in (atoms, *references):
        check_sound(structure)
    wanted = Counter(atoms.get_chemical_symbols())
    contents = [Counter(reference.get_chemical_symbols()) for reference in references]
    missing = sorted(set(wanted) - set().union(*contents))
    if missing:
        raise UsageError(
            f"No reference contains {', '.join(missing)}.",
            hint="give one structure for each element, such as its stable phase",
        )
    useful = [i for i, content in enumerate(contents) if content and set(content) <= set(wanted)]
    symbols = sorted(wanted)
    matrix = np.array([[contents[i][symbol] for i in useful] for symbol in symbols], dtype=float)
    found, *_ = np.linalg.lstsq(matrix, np.array([wanted[s] for s in symbols], dtype=float))
    if not np.allclose(matrix @ found, [wanted[s] for s in symbols], atol=1e-8):
        given = ", ".join(reference.get_chemical_formula() for reference in references)
        raise UsageError(f"The references ({given}) cannot make up {atoms.get_chemical_formula()}.")
    if np.linalg.matrix_rank(matrix) < len(useful):
        names = ", ".join(references[i].get_chemical_formula() for i in useful)
        raise UsageError(
            f"The references ({names}) make up {atoms.get_chemical_formula()} in several ways.",
            hint="give one reference for each element",
        )
    amounts = np.zeros(len(references))
    amounts[useful] = np.where(np.abs(found) < 1e-10, 0.0, found)
    return amounts


def check_adsorbate(adsorbate: Atoms) -> None:
    """BadStructureError for an adsorbate that repeats without vacuum."""
    check_sound(adsorbate)
    if not open_directions(adsorbate).all():
        raise BadStructureError(
            f"The adsorbate {adsorbate.get_chemical_formula()} repeats without vacuum between its images: it "
            "must be the molecule in the gas.",
            hint="set pbc to False, or use a box with more vacuum",
        )


def adsorbed_count(adsorbed: Atoms, slab: Atoms, adsorbate: Atoms) -> int:
    """How many adsorbates are on a slab; a JMPWarning where the slab itself is another one.

    Raises:
        UsageError: other cells, atoms that are not those of slab and adsorbates, other constraints.
        BadStructureError: one that cannot be evaluated.
    """
    for structure in (adsorbed, slab):
        check_sound(structure)
    same = np.array_equal(adsorbed.pbc, slab.pbc)
    if not (same and np.allclose(adsorbed.cell.array, slab.cell.array, atol=SAME_CELL_A)):
        raise UsageError(
            "The cells of the bare and of the covered slab differ, so their energies do not compare.",
            hint="compute the bare slab in the cell of the covered one",
        )
    more = Counter(adsorbed.get_chemical_symbols())
    more.subtract(slab.get_chemical_symbols())
    one = Counter(adsorbate.get_chemical_symbols())
    count = max(sum(more.values()) // max(len(adsorbate), 1), 0)
    wrong = {s: more[s] - count * one[s] for s in {*more, *one} if more[s] != count * one[s]}
    if wrong or count < 1:
        text = ", ".join(f"{number:+d} {symbol}" for symbol, number in sorted(wrong.items()))
        raise UsageError(
            f"The covered slab is not the bare one with molecules of {adsorbate.get_chemical_formula()}"
            + (f": {text}." if text else "."),
            hint="check which structure is which",
        )
    fixed, also = (describe_constraints(structure) for structure in (adsorbed, slab))
    if fixed != also:
        raise UsageError(
            "The bare and the covered slab have other constraints, so they do not relax alike: "
            f"{', '.join(also) or 'none'} and {', '.join(fixed) or 'none'}.",
            hint="fix the same atoms in both",
        )
    _warn_of_other_slab(adsorbed, slab)
    _warn_of_others_held(adsorbed, slab)
    return count


def _warn_of_other_slab(adsorbed: Atoms, slab: Atoms) -> None:
    from ase.geometry import get_distances

    _, distances = get_distances(slab.positions, adsorbed.positions, cell=slab.cell, pbc=slab.pbc)
    other = slab.numbers[:, None] != adsorbed.numbers[None, :]
    nearest = np.where(other, np.inf, distances).min(axis=1)
    gone = np.flatnonzero(nearest > MOVED_A)
    if len(gone):
        text = f"atom {gone[0]} ({slab.symbols[gone[0]]}) of the bare slab is {nearest[gone[0]]:.1f} Å from "
        text += "any of its element in the covered one: the slab is another or has been rebuilt"
        warnings.warn(text, JMPWarning, stacklevel=4)


def _warn_of_others_held(adsorbed: Atoms, slab: Atoms) -> None:
    """JMPWarning where constraints hold other atoms of the bare slab than of the covered one."""
    from ase.geometry import get_distances

    held, also = np.flatnonzero(_held(slab)), np.flatnonzero(_held(adsorbed))
    if not (len(held) and len(also)):
        return
    _, distances = get_distances(slab.positions[held], adsorbed.positions[also], cell=slab.cell, pbc=slab.pbc)
    other = slab.numbers[held][:, None] != adsorbed.numbers[also][None, :]
    lonely = held[np.where(other, np.inf, distances).min(axis=1) > MOVED_A]
    if len(lonely):
        text = (
            f"atom {lonely[0]} ({slab.symbols[lonely[0]]}) of the bare slab is held, and none at its place "
            "in the covered one: other atoms are held there, so the two do not relax alike"
        )
        warnings.warn(text, JMPWarning, stacklevel=4)


@dataclass(frozen=True)
class Surface:
    """What a slab is made of."""

    n_bulk: float
    """Cells of bulk in it."""
    area_a2: float
    """Of one face."""
    faces_alike: bool


def check_surface(slab: Atoms, bulk: Atoms, *, relaxed: bool = False) -> Surface:
    """Area and bulk cells of a slab; a JMPWarning where its faces differ, or its lattice is another one.

    ``relaxed``: it will be, and atoms that are held make faces differ.

    Raises:
        BadStructureError: a slab without vacuum on two sides, a bulk that is no crystal.
        UsageError: a slab that is not made of whole formula units of the bulk.
    """
    for structure in (slab, bulk):
        check_sound(structure)
    check_crystal(bulk, "the bulk of a surface")
    is_open = open_of_slab(slab)
    have, unit = Counter(slab.get_chemical_symbols()), Counter(bulk.get_chemical_symbols())
    ratios = {symbol: have[symbol] / unit[symbol] if unit[symbol] else np.inf for symbol in {*have, *unit}}
    if not np.allclose(list(ratios.values()), len(slab) / len(bulk)):
        raise UsageError(
            f"The slab {slab.get_chemical_formula()} is not made of whole formula units of "
            f"{bulk.get_chemical_formula(empirical=True)}: its surface energy depends on where the other "
            "atoms come from.",
            hint="use a stoichiometric slab",
        )
    (axis,) = np.flatnonzero(is_open)
    one, other = slab.cell.array[np.arange(3) != axis]
    alike = _faces_alike(slab, int(axis), _held(slab)) if relaxed else _faces_alike(slab, int(axis))
    if not alike and relaxed and _faces_alike(slab, int(axis)):
        text = (
            "one face of the slab relaxes and the other is held: the surface energy is the mean of a relaxed "
            "and an unrelaxed face (hold atoms in the middle, or none)"
        )
        warnings.warn(text, JMPWarning, stacklevel=4)
    elif not alike:
        text = "the two faces of the slab differ: the surface energy is the mean of both"
        warnings.warn(text, JMPWarning, stacklevel=4)
    _warn_of_other_lattice(slab, bulk, int(axis))
    return Surface(len(slab) / len(bulk), float(np.linalg.norm(np.cross(one, other))), alike)


def _warn_of_other_lattice(slab: Atoms, bulk: Atoms, axis: int) -> None:
    """JMPWarning where the innermost atom of a slab has its neighbours elsewhere than those of the bulk."""
    height = slab.positions @ np.linalg.inv(slab.cell.complete().array)[:, axis]
    inner = int(np.abs(height - (height.min() + height.max()) / 2).argmin())
    have = _nearest(slab, inner)
    known = [_nearest(bulk, int(i)) for i in np.flatnonzero(bulk.numbers == slab.numbers[inner])]
    wanted = min(known, key=lambda distance: abs(distance - have))
    if abs(have - wanted) > OTHER_LATTICE * wanted:
        text = (
            f"inside the slab neighbours are {have:.3f} Å apart, in the bulk {wanted:.3f} Å: the slab was "
            "cut from another lattice, or is too thin, and its strain counts as energy of surfaces"
        )
        warnings.warn(text, JMPWarning, stacklevel=4)


def _nearest(atoms: Atoms, index: int) -> float:
    """Distance of an atom to its nearest neighbour, images included, Å."""
    from ase.neighborlist import primitive_neighbor_list

    reach = NEIGHBOUR_REACH_A
    while True:
        first, distance = primitive_neighbor_list(
            "id", atoms.pbc, atoms.cell.complete(), atoms.positions, reach
        )
        found = distance[first == index]
        if len(found):
            return float(found.min())
        reach *= 2


def _held(slab: Atoms) -> np.ndarray:
    """Atoms with constraints (n_atoms,)."""
    held = np.zeros(len(slab), bool)
    for constraint in slab.constraints:
        if hasattr(constraint, "get_indices"):
            held[constraint.get_indices()] = True
    return held


def _faces_alike(slab: Atoms, axis: int, held: np.ndarray | None = None) -> bool:
    """Whether an operation of its symmetry turns the slab upside down; ``held``: atoms (n_atoms,) that are
    equal only to such."""
    import spglib

    box = slab.copy()
    box.set_cell(box.cell.complete())
    if not slab.pbc[axis]:  # the image of a thin cell would touch it
        box.center(vacuum=10.0, axis=axis)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        kinds = box.numbers if held is None else 2 * box.numbers + held
        crystal = (box.cell.array, box.get_scaled_positions(), kinds)
        found = spglib.get_symmetry(crystal, symprec=SYMPREC_A)
    return found is not None and bool((found["rotations"][:, axis, axis] == -1).any())
