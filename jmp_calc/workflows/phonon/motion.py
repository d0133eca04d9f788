"""How far the atoms swing: thermal displacements, B-factors, their file and figure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...io.atomic import replacing
from .glue import WARM_K, nearest


@dataclass(frozen=True, eq=False)
class ThermalMotion:
    """Mean square displacements of the atoms of the primitive cell, those of the zero-point motion among
    them."""

    temperatures: np.ndarray
    """(T,) K."""
    u: np.ndarray
    """(T, atoms, 3, 3) <u u>, Cartesian, Å²."""
    symbols: tuple[str, ...]
    """Of the atoms, as phonopy's files name them."""

    @property
    def b_factors(self) -> np.ndarray:
        """(T, atoms) Å²: B = 8 π² <u²>/3, of X-ray refinement."""
        return np.asarray(8 * np.pi**2 * np.trace(self.u, axis1=2, axis2=3) / 3)

    def to_dict(self) -> dict[str, Any]:
        """At the temperature next to 300 K, units in the names."""
        warm = nearest(self.temperatures, WARM_K)
        return {
            "temperature_k": float(self.temperatures[warm]),
            "atoms": list(self.symbols),
            "b_factors_a2": self.b_factors[warm].tolist(),
            "mean_square_displacements_a2": np.diagonal(self.u[warm], axis1=1, axis2=2).tolist(),
        }

    def write(self, path: Path) -> None:
        """Write b_factors.dat: temperature (K), then B of every atom, Å²."""
        table = np.column_stack([self.temperatures, self.b_factors])
        names = " ".join(f"B_{k + 1}_{symbol}(A^2)" for k, symbol in enumerate(self.symbols))
        with replacing(path) as temporary:
            np.savetxt(temporary, table, fmt="%14.7f", header=f"temperature(K) {names}")


def thermal_motion(phonon: Any) -> ThermalMotion | None:
    """What ``glue.solve`` left in phonopy's object; None where it was not asked for."""
    found = phonon.thermal_displacement_matrices
    if found is None:
        return None
    matrices = np.array(found.thermal_displacement_matrices)
    return ThermalMotion(np.array(found.temperatures), matrices, tuple(phonon.primitive.symbols))
