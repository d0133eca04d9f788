"""What ASE's constraints leave free, and what they add: whether atoms move, how many components of the
velocities, the energy of springs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import describe_constraints
from ..errors import JMPWarning, UsageError
from ..io.constraints import unstorable

if TYPE_CHECKING:
    from ase import Atoms

ATOM_BY_ATOM = frozenset({"FixAtoms", "FixCartesian", "FixScaled", "FixedLine", "FixedPlane"})
"""Constraints of single atoms, which leave directions of their velocities."""
DYNAMICAL = ATOM_BY_ATOM | {
    "FixCom", "FixBondLengths", "FixLinearTriatomic", "Hookean", "ExternalForce"
}  # fmt: skip
"""Constraints of ASE under which its integrators have the right temperature and conserve the energy."""
PROJECTIONS = ATOM_BY_ATOM | {"FixCom", "FixBondLengths", "FixLinearTriatomic", "FixSymmetry"}
"""Constraints of ASE that take a part of momenta away, and of what is left none."""
SAME = 1e-6
"""Lengths, relative to those of free directions, below which nothing is left."""
DISTINCT = 1e-3
"""Momenta of size 1 that differ by less are the same, as far as a symmetry is one."""


def mend(atoms: Atoms) -> None:
    """Exchange ASE's FixScaled, which is wrong in cells whose vectors are not perpendicular, for ours."""
    if any(type(constraint).__name__ == "FixScaled" for constraint in atoms.constraints):
        from .fix_scaled import mended

        atoms.set_constraint([mended(constraint) for constraint in atoms.constraints])


def moves(atoms: Atoms) -> bool:
    """Whether the constraints leave any atom free to move."""
    probe = _without_pulls(atoms)
    probe.set_momenta(np.random.default_rng(0).standard_normal((len(atoms), 3)))
    return bool(np.abs(probe.get_momenta()).max() > 1e-12)


def check_dynamical(atoms: Atoms) -> None:
    """UsageError for constraints with which dynamics would have another temperature, or that contradict each
    other."""
    for constraint in atoms.constraints:
        name, own = type(constraint).__name__, type(constraint).__module__.startswith("ase.")
        if (own and name not in DYNAMICAL) or not _counts(constraint, atoms):
            raise UsageError(
                f"The constraint {name} cannot be used in dynamics.",
                where="the temperature would be wrong",
                hint="use FixAtoms, FixCartesian, FixBondLengths or Hookean",
            )
    check_consistent(atoms)


def check_consistent(atoms: Atoms) -> None:
    """UsageError for constraints that contradict each other: ASE applies one after the other, so that the
    last moves what another one holds."""
    linear = [one for one in atoms.constraints if type(one).__name__ in PROJECTIONS]
    if len(linear) < 2:
        return
    probe = atoms.copy()
    probe.set_constraint(linear)
    probe.set_momenta(np.random.default_rng(0).standard_normal((len(atoms), 3)))
    once = probe.get_momenta()
    probe.set_momenta(once)
    if np.abs(probe.get_momenta() - once).max(initial=0.0) > DISTINCT:
        raise UsageError(
            "Two constraints contradict each other: what one of them holds is moved by the other.",
            where=", ".join(dict.fromkeys(type(one).__name__ for one in linear)),
            hint="hold every atom by one of them, and atoms that are symmetric copies alike",
        )


def free_components(atoms: Atoms) -> int:
    """Number of velocity components that the constraints leave, without regard to FixCom; components that
    several constraints take are taken once."""
    directions = _directions(atoms)
    free = int(np.linalg.matrix_rank(directions, tol=SAME).sum()) if len(atoms) else 0
    free -= _bonds_taken(atoms, directions)
    counted = ATOM_BY_ATOM | {"FixCom", "FixBondLengths"}
    others = [one for one in atoms.constraints if type(one).__name__ not in counted]
    return free - sum(int(constraint.get_removed_dof(atoms)) for constraint in others)


def _directions(atoms: Atoms) -> np.ndarray:
    """(n_atoms, 3, 3): what is left of velocities along x, y and z (rows)."""
    probe = atoms.copy()
    probe.set_constraint([c for c in probe.constraints if type(c).__name__ in ATOM_BY_ATOM])
    left = np.empty((len(atoms), 3, 3))
    for axis in range(3):
        probe.set_momenta(np.tile(np.eye(3)[axis], (len(atoms), 1)))
        left[:, axis] = probe.get_momenta()
    return left


def _bonds_taken(atoms: Atoms, directions: np.ndarray) -> int:
    """Components that fixed bond lengths take of those that ``directions`` leaves: by groups of atoms that
    bonds connect, the rank of the velocities along the bonds."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = np.array(list(_fixed_bonds(atoms))).reshape(-1, 2)
    if not len(pairs):
        return 0
    n = len(atoms)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    group = connected_components(graph, directed=False)[1][pairs[:, 0]]
    taken = 0
    for one in np.unique(group):
        bonds = pairs[group == one]
        members = np.unique(bonds)
        along = np.zeros((len(bonds), len(members), 3))
        for row, (i, j) in zip(along, bonds, strict=True):
            vector = atoms.get_distance(i, j, mic=True, vector=True)
            row[np.searchsorted(members, i)], row[np.searchsorted(members, j)] = -vector, vector
        left = np.einsum("bmx,mxy->bmy", along, directions[members].transpose(0, 2, 1))
        taken += int(np.linalg.matrix_rank(left.reshape(len(bonds), -1), tol=SAME))
    return taken


def _fixed_bonds(atoms: Atoms) -> Iterator[tuple[int, int]]:
    for constraint in atoms.constraints:
        if type(constraint).__name__ == "FixBondLengths":
            yield from ((int(i) % len(atoms), int(j) % len(atoms)) for i, j in constraint.pairs)


def _counts(constraint: Any, atoms: Atoms) -> bool:
    """Whether a constraint knows how many degrees of freedom it takes."""
    try:
        constraint.get_removed_dof(atoms)
    except (AttributeError, NotImplementedError):
        return False
    return True


def _without_pulls(atoms: Atoms) -> Atoms:
    """A copy with the constraints that take freedom away."""
    probe = atoms.copy()
    probe.calc = atoms.calc  # MirrorForce asks for forces
    probe.set_constraint([c for c in probe.constraints if not _pulls(c)])
    return probe


def _pulls(constraint: Any) -> bool:
    """Whether a constraint is a force with an energy: it takes no freedom away."""
    return hasattr(constraint, "adjust_potential_energy")


def constraint_energy(atoms: Atoms) -> float:
    """Energy of the constraints that have one (Hookean, ExternalForce), eV."""
    return float(sum(c.adjust_potential_energy(atoms) for c in atoms.constraints if _pulls(c)))


def keep_pulls_off_momenta(atoms: Atoms) -> None:
    """Keep constraints that are forces from changing momenta: ASE's ExternalForce adds its force to them."""
    for constraint in filter(_pulls, atoms.constraints):
        constraint.adjust_momenta = lambda atoms, momenta: None


def warn_of_unstored_constraints(atoms: Atoms) -> None:
    """Say which constraints the extxyz files of a run will not hold: all but fixed atoms and fixed Cartesian
    components."""
    lost = unstorable(atoms, "extxyz")
    if lost.constraints:
        kinds = ", ".join(describe_constraints(lost))
        text = f"extxyz files cannot hold {kinds}: the run obeys them, its extxyz files are without"
        warnings.warn(text, JMPWarning, stacklevel=3)
