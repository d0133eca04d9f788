"""Make the picture of docs/analysis.md: copper at 1000 K, without a model."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ase.build import bulk
from ase.calculators.emt import EMT

from jmp_calc import analyse, md

with tempfile.TemporaryDirectory() as folder:
    atoms = bulk("Cu", "fcc", a=3.66, cubic=True) * 2
    run = md(
        atoms,
        calc=EMT(),
        thermostat="bussi",
        temperature_k=1000,
        timestep_fs=4,
        steps=2000,
        traj_every=2,
        out=folder,
    )
    result = analyse(f"{folder}/traj.extxyz")
    print(result, result.msd.diffusion, result.averages)
    result.plot(folder)
    shutil.copy(
        Path(folder) / "analysis.svg", Path(__file__).parents[1] / "docs" / "images" / "analysis_cu.svg"
    )
