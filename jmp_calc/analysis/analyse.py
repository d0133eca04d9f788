"""Analysis of a trajectory: structure, diffusion, spectrum, averages.

result = analyse("run/traj.extxyz")  # or frames; with the stats.dat beside it
result.msd.diffusion["Li"], result.rdf.g["Li-O"], result.averages["temperature_K"]
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import structure_list
from ..errors import JMPWarning
from ..model.elements import symbol
from .frames import path_of
from .motion import displacements, velocity_correlation
from .result import Analysis
from .settings import AnalyseSettings
from .structure import radial_distribution
from .table import read_table, table_averages

if TYPE_CHECKING:
    from ase import Atoms

COARSE_FS = 5.0
"""Frames further apart miss vibrations of hydrogen (9 fs period)."""


def analyse(
    trajectory: str | os.PathLike[str] | Sequence[Atoms],
    *,
    table: str | os.PathLike[str] | None = None,
    discard: float = AnalyseSettings.discard,
    frame_fs: float | None = AnalyseSettings.frame_fs,
    r_max: float | None = AnalyseSettings.r_max,
    bins: int = AnalyseSettings.bins,
    blocks: int = AnalyseSettings.blocks,
) -> Analysis:
    """Radial distribution, mean square displacement, spectrum of velocities, and averages with errors.

    Args:
        trajectory: file (any that ASE reads, FILE@START:STOP:STEP) or frames of one run in order.
        table: thermo table of the run; if none is given, the stats.dat beside the file. Default: None.
        discard: share at the start that is left out of everything. Default: 0.1.
        frame_fs: time between frames, fs; that which the frames state if none is given. Default: None.
        r_max: largest distance of g(r), Å; half the smallest height of the cell, but 5 to 10, if none is
            given. Default: None.
        bins: intervals of g(r). Default: 200.
        blocks: parts of the trajectory whose slopes give the error of diffusion. Default: 5.

    Returns:
        Analysis. Displacements are relative to the centre of mass; elements are told apart.

    Raises:
        UsageError: too few frames, no times. BadInputError: a file that cannot be read, frames of other
            atoms, with NaN, or not equally spaced; a damaged table.
    """
    settings = AnalyseSettings(discard=discard, frame_fs=frame_fs, r_max=r_max, bins=bins, blocks=blocks)
    if isinstance(trajectory, str | os.PathLike):
        from ..io.structures import read_frames

        frames: Sequence[Atoms] = read_frames(trajectory)
        table = table_beside(trajectory) if table is None else table
    else:
        frames = structure_list(trajectory, "trajectory")
    path = path_of(frames, frame_fs, discard)
    first = path.frames[0]
    crystal = bool(first.pbc.all()) and all(atoms.cell.rank == 3 for atoms in path.frames)
    span = (float(path.times_fs[0]), float(path.times_fs[-1]))
    vacf = velocity_correlation(path)
    if vacf is not None and path.frame_fs > COARSE_FS and 1 in first.numbers:
        text = f"frames every {path.frame_fs:g} fs resolve vibrations up to {vacf.highest_cm1:.0f} cm⁻¹ only"
        warnings.warn(f"{text}; write them more often (traj_every)", JMPWarning, stacklevel=2)
    kinds = {symbol(int(z)): first.numbers == z for z in sorted(set(first.numbers.tolist()))}
    return Analysis(
        formula=first.get_chemical_formula(),
        n_frames=len(path.frames),
        frame_fs=path.frame_fs,
        from_ps=span[0] / 1000,
        to_ps=span[1] / 1000,
        rdf=radial_distribution(path.frames, r_max, bins) if crystal else None,
        msd=displacements(path, kinds, blocks),
        vacf=vacf,
        # with a frame_fs the times are not those of the table
        averages={}
        if table is None
        else table_averages(read_table(table), discard, span if frame_fs is None else None),
        settings=settings,
    )


def table_beside(trajectory: str | os.PathLike[str]) -> Path | None:
    """The thermo table of the run that wrote a trajectory, if it lies beside it."""
    from ..io.files import parse_structure

    path = parse_structure(trajectory).path
    table = path.with_name(f"{path.name.partition('traj.')[0]}stats.dat")
    ours = path.name.endswith(("traj.extxyz", "traj.extxyz.gz"))
    return table if ours and table.is_file() else None
