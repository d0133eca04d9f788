"""Pictures of the pages on vibrations, paths and analysis, with ASE's EMT: python benchmarks/workflow_pictures.py

Writes docs/images/vib_cu13.svg, docs/images/neb_hop.svg and docs/images/analysis_cu.svg.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ase.build import bulk
from ase.calculators.emt import EMT
from ase.cluster import Icosahedron

from jmp_calc import analyse, md, vib

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def vibrations(folder: Path) -> None:
    """Modes of a cluster of thirteen atoms."""
    cluster = Icosahedron("Cu", 2)
    cluster.calc = EMT()
    vib(cluster, out=folder)
    shutil.copy(folder / "spectrum.svg", IMAGES / "vib_cu13.svg")


def dynamics(folder: Path) -> None:
    """Copper at 1000 K for 8 ps."""
    atoms = bulk("Cu", "fcc", a=3.66, cubic=True) * 2
    settings = dict(thermostat="bussi", temperature_k=1000, timestep_fs=4, steps=2000, traj_every=2)
    md(atoms, calc=EMT(), out=folder, **settings)
    analyse(folder / "traj.extxyz").plot(folder)
    shutil.copy(folder / "analysis.svg", IMAGES / "analysis_cu.svg")


def main() -> None:
    """Draw all of them."""
    with tempfile.TemporaryDirectory() as folder:
        vibrations(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        dynamics(Path(folder))


if __name__ == "__main__":
    main()
