"""Geometries of molecular graphs: distance geometry, force fields and short dynamics with RDKit."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from ..model.elements import ATOMIC_MASSES
from ..units import KCAL_MOL
from .draws import log_uniform
from .geometry import Floats
from .heat import langevin

TRIALS = 8
"""Attempts at a geometry before a graph is given up."""
STEPS = 200
"""Steps of a force-field minimisation."""


def embedded(rng: Generator, molecule: Chem.Mol) -> Chem.Mol | None:
    """The molecule with hydrogens and a random conformer, or None where the graph fits into no space."""
    full = Chem.AddHs(molecule)
    params = rdDistGeom.ETKDGv3()
    params.randomSeed = int(rng.integers(1, 2**31 - 1))
    params.maxIterations = TRIALS
    return full if rdDistGeom.EmbedMolecule(full, params) == 0 else None


def numbers_of(molecule: Chem.Mol) -> np.ndarray:
    """Atomic numbers, (N,)."""
    return np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], dtype=np.int64)


def positions_of(molecule: Chem.Mol) -> Floats:
    """Positions of the only conformer, (N, 3), Å."""
    return np.array(molecule.GetConformer().GetPositions(), dtype=np.float64)


class ForceField:
    """MMFF94 of a molecule, or UFF where that has no parameters."""

    def __init__(self, molecule: Chem.Mol, positions: Floats) -> None:
        """ValueError where neither has parameters for the molecule."""
        copy = Chem.Mol(molecule)
        conformer = copy.GetConformer()
        conformer.SetPositions(np.ascontiguousarray(positions))
        self.masses = np.array([ATOMIC_MASSES[z] for z in numbers_of(copy)])
        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(copy)
        self._molecule = copy  # the force field of RDKit reads and writes its conformer
        self.is_mmff = properties is not None
        if not self.is_mmff and not rdForceFieldHelpers.UFFHasAllMoleculeParams(copy):
            raise ValueError("no force field has parameters for this molecule")
        self._field = (
            rdForceFieldHelpers.MMFFGetMoleculeForceField(copy, properties)
            if self.is_mmff
            else rdForceFieldHelpers.UFFGetMoleculeForceField(copy)
        )
        self._field.Initialize()

    def hold(self, first: int, second: int, distance: float) -> None:
        """Pull two atoms to a distance, Å."""
        add = self._field.MMFFAddDistanceConstraint if self.is_mmff else self._field.UFFAddDistanceConstraint
        add(first, second, False, distance, distance, 2000.0)

    def relax(self, steps: int = STEPS) -> Floats:
        """Positions (N, 3), Å, after at most so many steps downhill."""
        self._field.Minimize(maxIts=steps)
        return self._positions()

    def heat(self, rng: Generator, temperature: float, steps: int) -> Floats:
        """Positions (N, 3), Å, after Langevin dynamics at ``temperature`` (K) with steps of 0.5 fs."""
        start = self._positions()
        return langevin(rng, start, self.masses, self._forces, temperature=temperature, steps=steps)

    def _positions(self) -> Floats:
        return np.array(self._field.Positions(), dtype=np.float64).reshape(-1, 3)

    def _forces(self, positions: Floats) -> Floats:
        places = positions.ravel().tolist()
        self._field.CalcEnergy(places)  # CalcGrad alone takes the distances between atoms of the call before
        gradient = np.array(self._field.CalcGrad(places))
        # A start far from equilibrium must not throw atoms out of the molecule.
        return np.clip(-KCAL_MOL * gradient.reshape(-1, 3), -20.0, 20.0)


def rattled(rng: Generator, positions: Floats, low: float = 0.01, high: float = 0.14) -> Floats:
    """Positions (N, 3) with Gaussian displacements whose width is log-uniform between the bounds, Å."""
    return positions + log_uniform(rng, low, high) * rng.normal(size=positions.shape)
