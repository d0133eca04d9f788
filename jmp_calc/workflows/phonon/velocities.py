"""Group velocities along the band path, and their file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...io.atomic import replacing
from ...units import KM_S_PER_THZ_A


def group_velocities(phonon: Any) -> np.ndarray | None:
    """(n_qpoints, n_bands, 3) km/s, Cartesian; None where they were not asked for."""
    found = phonon.band_structure.group_velocities
    return None if found is None else np.concatenate(found) * KM_S_PER_THZ_A


def write_group_velocities(path: Path, phonon: Any, velocities: np.ndarray) -> None:
    """Write group_velocities.dat: a row for every q-point of the path and band."""
    bands = phonon.band_structure
    distances, frequencies = np.concatenate(bands.distances), np.concatenate(bands.frequencies)
    n_q, n_bands, _ = velocities.shape
    per_row = np.column_stack([distances, np.concatenate(bands.qpoints)]).repeat(n_bands, axis=0)
    table = np.column_stack(
        [
            per_row,
            np.tile(np.arange(1, n_bands + 1), n_q),
            frequencies.ravel(),
            velocities.reshape(-1, 3),
            np.linalg.norm(velocities, axis=2).ravel(),
        ]
    )
    header = "distance(1/A) q_a q_b q_c band frequency(THz) v_x(km/s) v_y v_z |v|"
    with replacing(path) as temporary:
        np.savetxt(temporary, table, fmt=["%12.7f"] * 4 + ["%4d"] + ["%14.8f"] * 5, header=header)
