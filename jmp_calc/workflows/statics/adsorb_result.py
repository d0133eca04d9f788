"""What a search for the best place of an adsorbate came out as: a ranking, structures, table and picture."""

from __future__ import annotations

import csv
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import JMPWarning
from ...io.atomic import replacing
from ..common import output_path, write_frames
from ..relax_many import JOURNAL
from .adsorb_settings import AdsorbSettings
from .placing import Candidate
from .sites import Face, Site
from .sums import EnergySum

if TYPE_CHECKING:
    from ase import Atoms

PLOTS = ("adsorb.svg", "adsorb.png")
TABLES = ("adsorbed.extxyz", "starts.extxyz", "best.extxyz", "parts.extxyz", "adsorb.csv")
OUTPUTS = (*TABLES, JOURNAL, *PLOTS)
SAME_EV = 0.01
"""Ends on one kind of site whose energies differ by less are one."""


@dataclass(frozen=True, eq=False)
class Adsorbed:
    """What became of one candidate; None where it failed."""

    number: int
    """Of the candidate, in the order of the sites; also in starts.extxyz."""
    start: Candidate
    atoms: Atoms | None
    """With energy and forces; the adsorbate comes last."""
    adsorption_ev: float | None
    """Negative: bound."""
    fmax: float | None
    """Largest force left, eV/Å."""
    site: Site | None
    """Where it ended."""
    intact: bool | None
    """Whether the molecule has the bonds that it has in the gas."""
    bound: bool | None
    """Whether it still touches the slab."""
    error: str
    """Empty where nothing is wrong."""

    def to_dict(self) -> dict[str, Any]:
        """One row of the table."""
        return {
            "candidate": self.number,
            "adsorption_ev": self.adsorption_ev,
            "start_site": self.start.site.name,
            "down": self.start.down,
            "turn_deg": self.start.turn_deg,
            "site": None if self.site is None else self.site.name,
            "intact": self.intact,
            "bound": self.bound,
            "fmax_ev_per_a": self.fmax,
            "error": self.error,
        }


@dataclass(frozen=True, eq=False, repr=False)
class AdsorbResult:
    """Candidates from the most stable; those that failed come last."""

    rows: tuple[Adsorbed, ...]
    energy: EnergySum
    """Of the best: its terms are the covered slab, the bare slab and the molecule."""
    sites: tuple[Site, ...]
    """Kinds of sites of the bare surface."""
    face: Face
    bare: Atoms
    molecule: Atoms
    settings: AdsorbSettings

    def __repr__(self) -> str:
        best = self.best
        name = self.molecule.get_chemical_formula()
        where = "" if best.site is None else f" on {best.site.name}"
        return (
            f"<AdsorbResult of {name}: {len(self.rows)} candidates, best {best.adsorption_ev:.4f} eV{where}>"
        )

    @property
    def best(self) -> Adsorbed:
        """The most stable one."""
        return self.rows[0]

    @property
    def distinct(self) -> tuple[Adsorbed, ...]:
        """Without those that ended on a kind of site with the energy of an earlier one, or failed."""
        found: list[Adsorbed] = []
        for row in self.rows:
            if row.adsorption_ev is not None and not any(_alike(row, other) for other in found):
                found.append(row)
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml, units in the names; those of each candidate are in the table."""
        return {
            "n_candidates": len(self.rows),
            "n_distinct": len(self.distinct),
            "n_failed": sum(row.adsorption_ev is None for row in self.rows),
            "n_not_converged": sum(row.error == "not converged" for row in self.rows),
            "best": self.best.to_dict(),
            "sites": [
                {"name": site.name, "atoms": list(site.atoms), "per_cell": len(site.places)}
                for site in self.sites
            ],
            "terms": [term.to_dict() for term in self.energy.terms],
        }

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "", plot: bool = True) -> list[Path]:
        """Write the files of ``OUTPUTS``; returns their paths."""
        paths = {name: output_path(folder, name, prefix) for name in OUTPUTS}
        ended = [self._frame(rank, row) for rank, row in enumerate(self.rows) if row.atoms is not None]
        write_frames(paths["adsorbed.extxyz"], ended)
        write_frames(paths["best.extxyz"], ended[:1])
        starts = []
        for row in sorted(self.rows, key=lambda row: row.number):
            frame = row.start.atoms.copy()
            frame.info |= {"candidate": row.number, "site": row.start.site.name, "down": row.start.down}
            starts.append(frame)
        write_frames(paths["starts.extxyz"], starts)
        self.energy.write(folder, prefix=prefix)
        with replacing(paths["adsorb.csv"]) as temporary, temporary.open("w", encoding="utf-8") as stream:
            rows = [{"rank": rank + 1, **row.to_dict()} for rank, row in enumerate(self.rows)]
            table = csv.DictWriter(stream, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
        written = [paths[name] for name in TABLES]
        return written + (self.plot([paths[name] for name in PLOTS]) if plot else [])

    def _frame(self, rank: int, row: Adsorbed) -> Atoms:
        assert row.atoms is not None
        frame = row.atoms.copy()
        frame.calc = row.atoms.calc
        kept = {"rank": rank + 1, "adsorption_ev": row.adsorption_ev, "candidate": row.number}
        frame.info |= {**kept, "site": "" if row.site is None else row.site.name}
        return frame

    def plot(self, paths: list[Path]) -> list[Path]:
        """Draw the sites from above and the energies; without matplotlib a warning and nothing else."""
        from ...io import plots, plots_motion

        if not plots.available():
            text = "no figures: matplotlib is not installed (pip install jmp-calc[plot])"
            warnings.warn(text, JMPWarning, stacklevel=2)
            return []
        from ase.data import covalent_radii
        from ase.data.colors import jmol_colors

        face = self.face
        order = np.argsort(face.places[:, 2])
        circles = np.column_stack([face.places[order], covalent_radii[face.numbers[order]]])
        marks = {
            f"{site.name} {number}": np.array(site.places) for number, site in enumerate(self.sites, start=1)
        }
        names = [
            (
                f"{row.start.site.name} {self.sites.index(row.start.site) + 1}",
                row.start.down,
                row.adsorption_ev,
            )
            for row in self.rows
            if row.adsorption_ev is not None
        ]
        plots_motion.plot_adsorption(
            (circles, jmol_colors[face.numbers[order]]), face.lattice, marks, names, paths
        )
        return [path for path in paths if path.is_file()]


def _alike(one: Adsorbed, other: Adsorbed) -> bool:
    assert one.adsorption_ev is not None and other.adsorption_ev is not None
    same_kind = one.site is not None and other.site is not None and one.site == other.site
    return same_kind and abs(one.adsorption_ev - other.adsorption_ev) < SAME_EV
