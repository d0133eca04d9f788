"""What an analysis came out as: numbers, files and a figure."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import JMPWarning
from ..io.atomic import replacing
from ..io.outdir import with_prefix
from .blocks import Average
from .motion import Msd, Vacf
from .settings import AnalyseSettings
from .structure import Rdf

PLOTS = ("analysis.svg", "analysis.png")
OUTPUTS = ("rdf.dat", "msd.dat", "vacf.dat", "spectrum.dat", *PLOTS)


@dataclass(frozen=True, eq=False, repr=False)
class Analysis:
    """What a trajectory says, of the part from ``from_ps`` to ``to_ps``."""

    formula: str
    n_frames: int
    """Those that were used."""
    frame_fs: float
    from_ps: float
    to_ps: float
    rdf: Rdf | None
    """None: not periodic in three directions."""
    msd: Msd
    vacf: Vacf | None
    """None: the frames have no velocities."""
    averages: dict[str, Average]
    """Of the columns of the table; {} without one."""
    settings: AnalyseSettings

    def __repr__(self) -> str:
        return f"<Analysis of {self.formula}: {self.n_frames} frames, {self.from_ps:g} to {self.to_ps:g} ps>"

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml, units in the names."""
        found: dict[str, Any] = {
            "formula": self.formula,
            "n_frames": self.n_frames,
            "frame_fs": self.frame_fs,
            "from_ps": self.from_ps,
            "to_ps": self.to_ps,
            "diffusion_dimensions": self.msd.dimensions,
            "diffusion": {
                name: {**asdict(value), "diffusive": value.diffusive}
                for name, value in self.msd.diffusion.items()
            },
            "averages": {name: asdict(value) for name, value in self.averages.items()},
        }
        if self.rdf is not None:
            found["rdf_frames"] = self.rdf.n_frames
            found["rdf_highest_at_a"] = {pair: self.rdf.highest_at(pair) for pair in self.rdf.g}
        if self.vacf is not None:
            found["spectrum_highest_cm1"] = self.vacf.highest_cm1
            found["spectrum_mean_cm1"] = float(
                np.average(self.vacf.wavenumbers_cm1, weights=self.vacf.density)
            )
        return found

    def _tables(self) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """File names and columns with units."""
        if self.rdf is not None:
            columns = {"r_A": self.rdf.r, **{f"g_{pair}": g for pair, g in self.rdf.g.items()}}
            yield "rdf.dat", columns | {f"n_{pair}": n for pair, n in self.rdf.neighbours.items()}
        yield "msd.dat", {"lag_ps": self.msd.lags_ps} | {f"msd_{n}_A2": c for n, c in self.msd.a2.items()}
        if self.vacf is not None:
            yield "vacf.dat", {"lag_ps": self.vacf.lags_ps, "vacf": self.vacf.correlation}
            yield (
                "spectrum.dat",
                {"wavenumber_cm-1": self.vacf.wavenumbers_cm1, "density_cm": self.vacf.density},
            )

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "", plot: bool = True) -> list[Path]:
        """Write the tables and, if wanted, the figure; returns their paths."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        written = []
        for name, columns in self._tables():
            path = target / with_prefix(name, prefix)
            with replacing(path) as temporary:
                rows = np.column_stack(list(columns.values()))
                np.savetxt(temporary, rows, fmt="%.8g", header="  ".join(columns))
            written.append(path)
        return [*written, *(self.plot(folder, prefix=prefix) if plot else [])]

    def plot(self, folder: str | os.PathLike[str], *, prefix: str = "") -> list[Path]:
        """Draw distances, displacements and spectrum; without matplotlib a warning and nothing else."""
        from ..io import plots

        if not plots.available():
            text = "no figures: matplotlib is not installed (pip install jmp-calc[plot])"
            warnings.warn(text, JMPWarning, stacklevel=2)
            return []
        paths = [Path(folder) / with_prefix(name, prefix) for name in PLOTS]
        plots.plot_analysis(
            None if self.rdf is None else (self.rdf.r, self.rdf.g),
            (self.msd.lags_ps, self.msd.a2),
            None if self.vacf is None else (self.vacf.wavenumbers_cm1, self.vacf.density),
            paths,
        )
        return [path for path in paths if path.is_file()]
