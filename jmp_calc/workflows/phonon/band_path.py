"""Paths through the Brillouin zone: of crystals by seekpath (or ASE), of layers and wires in their own
directions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import JMPError, UsageError

LATTICE_TOLERANCES = (2e-4, 2e-3, 2e-2)
"""Relative: a relaxed cell may be almost of a higher symmetry, and then fits no lattice sharply."""
_GREEK = ("GAMMA", "SIGMA", "DELTA", "LAMBDA")


@dataclass(frozen=True)
class BandPath:
    """Pieces of straight lines between named q-points."""

    labels: tuple[tuple[str, ...], ...]
    """Names of the corners of each piece: G for Γ, X, H_2, ..."""
    corners: tuple[np.ndarray, ...]
    """Per piece (n, 3), fractions of the primitive reciprocal vectors."""
    source: str
    """seekpath, ase or given."""

    def tex(self) -> list[str]:
        """Labels as phonopy and the figures write them, piece by piece."""
        return [_tex(label) for piece in self.labels for label in piece]

    def joined(self) -> list[bool]:
        """Per line, whether the next one starts where it ends."""
        return [k < len(piece) - 2 for piece in self.labels for k in range(len(piece) - 1)]

    def name_of(self, qpoint: np.ndarray) -> str:
        """Name of the corner at a q-point (3,), or ""."""
        for labels, corners in zip(self.labels, self.corners, strict=True):
            for label, corner in zip(labels, corners, strict=True):
                if np.allclose(corner, qpoint, atol=1e-3):
                    return label
        return ""


def band_path(
    cell: tuple[np.ndarray, np.ndarray, np.ndarray], periodic: np.ndarray, bands: str, symprec: float
) -> BandPath:
    """The path that ``bands`` asks for in a primitive cell.

    Args:
        cell: vectors (3, 3) Å, fractional positions (N, 3) and kinds (N,) of the primitive cell.
        periodic: (3,) bool; along the others there is no path.
        bands: "auto" or labels; a comma starts a new piece.
        symprec: Å.

    Raises:
        UsageError: a label that this lattice does not have, a piece of one point.
        JMPError: no path is known for the lattice.
    """
    points, pieces, source = _in_crystal(cell, symprec) if periodic.all() else _in_plane(cell[0], periodic)
    if bands != "auto":
        pieces, source = [piece.split() for piece in bands.split(",")], "given"
    if any(len(piece) < 2 for piece in pieces):
        raise UsageError(f"A band path needs two points or more: '{bands}'.", hint='write "G X, K G"')
    named = tuple(tuple(plain_label(label) for label in piece) for piece in pieces)
    unknown = [label for piece in named for label in piece if label not in points]
    if unknown:
        raise UsageError(
            f"This lattice has no point '{unknown[0]}'.", hint=f"its points: {' '.join(sorted(points))}"
        )
    corners = tuple(np.array([points[label] for label in piece]) for piece in named)
    return BandPath(named, corners, source)


Points = tuple[dict[str, np.ndarray], list[list[str]], str]


def _in_crystal(cell: tuple[np.ndarray, np.ndarray, np.ndarray], symprec: float) -> Points:
    """Points by label, pieces and source: seekpath, or ASE when it is absent."""
    try:
        import seekpath
    except ImportError:
        return _by_ase(cell[0])
    found = seekpath.get_path_orig_cell(cell, symprec=symprec)
    points = {plain_label(name): np.array(xyz) for name, xyz in found["point_coords"].items()}
    return points, _chained(found["path"]), "seekpath"


def _chained(lines: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Lines between two labels as pieces without jumps."""
    pieces: list[list[str]] = []
    for start, end in lines:
        if pieces and pieces[-1][-1] == start:
            pieces[-1].append(end)
        else:
            pieces.append([start, end])
    return pieces


def _in_plane(vectors: np.ndarray, periodic: np.ndarray) -> Points:
    """Of a layer or wire: ASE wants the periodic vectors in front."""
    flat = np.zeros((3, 3))
    flat[: periodic.sum()] = vectors[periodic]
    found, pieces, source = _by_ase(flat)
    points = {name: np.zeros(3) for name in found}
    for name, xyz in found.items():
        points[name][periodic] = xyz[: periodic.sum()]
    return points, pieces, source


def _by_ase(vectors: np.ndarray) -> Points:
    from ase.cell import Cell
    from ase.dft.kpoints import parse_path_string

    for tolerance in LATTICE_TOLERANCES:
        try:
            path = Cell(vectors).bandpath(npoints=0, eps=tolerance)
        except RuntimeError:  # "Failed to recognize lattice"
            continue
        points = {plain_label(name): np.array(xyz) for name, xyz in path.special_points.items()}
        pieces = [[plain_label(name) for name in piece] for piece in parse_path_string(path.path)]
        return points, pieces, "ase"
    raise JMPError("No path is known for this lattice.", hint="pip install seekpath")


def plain_label(label: str) -> str:
    """One spelling for each point: G for Γ, GAMMA and $\\Gamma$; X_1 for X1."""
    name = label.replace("$", "").replace("\\Gamma", "G").replace("Γ", "G")
    name = "G" if name == "GAMMA" else name
    return re.sub(r"^([A-Z])(\d)$", r"\1_\2", name)


def _tex(label: str) -> str:
    name, _, index = label.partition("_")
    greek = "GAMMA" if name == "G" else name
    symbol = f"\\{greek.capitalize()}" if greek in _GREEK else f"\\mathrm{{{name}}}"
    return f"${symbol}_{{{index}}}$" if index else f"${symbol}$"
