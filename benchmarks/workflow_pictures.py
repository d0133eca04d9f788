"""Pictures of the pages on vibrations and paths, with ASE's EMT: python benchmarks/workflow_pictures.py

Writes docs/images/vib_cu13.svg and docs/images/neb_hop.svg.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ase.build import add_adsorbate, fcc100
from ase.calculators.emt import EMT
from ase.cluster import Icosahedron
from ase.constraints import FixAtoms

from jmp_calc import neb, vib

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def vibrations(folder: Path) -> None:
    """Modes of a cluster of thirteen atoms."""
    cluster = Icosahedron("Cu", 2)
    cluster.calc = EMT()
    vib(cluster, out=folder)
    shutil.copy(folder / "spectrum.svg", IMAGES / "vib_cu13.svg")


def hop(folder: Path) -> None:
    """A gold atom on aluminium, from one hollow to the next."""
    initial = fcc100("Al", size=(2, 2, 3))
    add_adsorbate(initial, "Au", 1.7, "hollow")
    initial.center(axis=2, vacuum=4.0)
    initial.set_constraint(FixAtoms([atom.index for atom in initial if atom.tag > 1]))
    initial.calc = EMT()
    final = initial.copy()
    final.positions[-1, 0] += 0.5 * initial.cell[0, 0]
    neb(initial, final, images=5, out=folder)
    shutil.copy(folder / "barrier.svg", IMAGES / "neb_hop.svg")


def main() -> None:
    """Draw all of them."""
    for draw in (vibrations, hop):
        with tempfile.TemporaryDirectory() as folder:
            draw(Path(folder))


if __name__ == "__main__":
    main()
