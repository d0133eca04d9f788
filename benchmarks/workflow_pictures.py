"""Pictures of the pages on vibrations and paths, with ASE's EMT: python benchmarks/workflow_pictures.py

Writes docs/images/vib_cu13.svg and docs/images/neb_hop.svg.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ase.calculators.emt import EMT
from ase.cluster import Icosahedron

from jmp_calc import vib

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def vibrations(folder: Path) -> None:
    """Modes of a cluster of thirteen atoms."""
    cluster = Icosahedron("Cu", 2)
    cluster.calc = EMT()
    vib(cluster, out=folder)
    shutil.copy(folder / "spectrum.svg", IMAGES / "vib_cu13.svg")


def main() -> None:
    """Draw all of them."""
    with tempfile.TemporaryDirectory() as folder:
        vibrations(Path(folder))


if __name__ == "__main__":
    main()
