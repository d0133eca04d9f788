"""Pictures of the pages on workflows, with ASE's EMT, all or some:

    python benchmarks/workflow_pictures.py
    python benchmarks/workflow_pictures.py energies heating

Writes into docs/images vib_cu13.svg (vibrations), neb_hop.svg (hop), eos_cu.svg (equation_of_state),
elastic_ni.svg and young_ni.svg (elastic_constants), phonons_cu.svg (bands), qha_cu.svg and helmholtz_cu.svg
(thermal_expansion), energies_emt.svg (energies), heating_cu.svg (heating) and analysis_cu.svg (dynamics).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100, fcc110, fcc111
from ase.calculators.emt import EMT
from ase.cluster import Icosahedron
from ase.constraints import FixAtoms
from matplotlib.figure import Figure

from jmp_calc import (
    analyse,
    elastic,
    eos,
    formation_energy,
    md,
    neb,
    phonons,
    qha,
    relax,
    surface_energy,
    vib,
)

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


def equation_of_state(folder: Path) -> None:
    """Energies and pressures of copper."""
    eos(bulk("Cu", a=3.59), calc=EMT(), min_volume=0.88, max_volume=1.12, n_volumes=11, out=folder)
    shutil.copy(folder / "eos.svg", IMAGES / "eos_cu.svg")


def elastic_constants(folder: Path) -> None:
    """Stress against strain, and Young's modulus, of nickel in the hexagonal structure, where ions relax."""
    nickel = bulk("Ni", "hcp", a=2.48, c=4.05)
    nickel.calc = EMT()
    elastic(relax(nickel, cell="full", fmax=1e-4).atoms, out=folder)
    for name in ("elastic", "young"):
        shutil.copy(folder / f"{name}.svg", IMAGES / f"{name}_ni.svg")


def thermal_expansion(folder: Path) -> None:
    """Volume, expansion, bulk modulus and heat capacity of copper, and its free energies."""
    copper = relax(bulk("Cu", a=3.6), calc=EMT(), cell="full", fmax=1e-4).atoms
    qha(copper, calc=EMT(), supercell="3 3 3", mesh="11 11 11", tmax=600.0, out=folder)
    for name in ("qha", "helmholtz"):
        shutil.copy(folder / f"{name}.svg", IMAGES / f"{name}_cu.svg")


def bands(folder: Path) -> None:
    """Phonon bands of copper."""
    copper = relax(bulk("Cu", a=3.6), calc=EMT(), cell="full", fmax=1e-4).atoms
    phonons(copper, supercell="4 4 4", out=folder)
    shutil.copy(folder / "band.svg", IMAGES / "phonons_cu.svg")


def energies(folder: Path) -> None:
    """Formation energies of copper with gold against composition, and surface energies against thickness."""
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    pure = [relaxed(bulk(symbol, cubic=True)) for symbol in ("Cu", "Au")]
    for gold in ((0,), (0, 1), (1, 2, 3)):
        alloy = bulk("Cu", a=3.9, cubic=True)
        alloy.symbols[list(gold)] = "Au"
        found = formation_energy(relaxed(alloy), pure, calc=EMT())
        left.plot(len(gold) / 4, 1e3 * found.numbers["energy_ev_per_atom"], "o", color="#1f4e79")
    left.plot([0, 1], [0, 0], "o", color="#1f4e79")
    left.axhline(0.0, color="#b0b7bf", linewidth=0.6)
    left.set(xlabel="share of Au in Cu-Au", ylabel="formation energy (meV/atom)")
    copper, layers = relaxed(bulk("Cu")), np.arange(2, 9)
    length = float(np.sqrt(2) * np.linalg.norm(copper.cell[0]))
    for name, build in (("111", fcc111), ("100", fcc100), ("110", fcc110)):
        slabs = [build("Cu", (1, 1, int(count)), a=length, vacuum=8.0, periodic=True) for count in layers]
        values = [
            surface_energy(slab, copper, calc=EMT(), relax="positions").numbers["surface_energy_j_per_m2"]
            for slab in slabs
        ]
        right.plot(layers, values, "o-", color="#1f4e79", linewidth=1.0)
        beside = dict(textcoords="offset points", ha="right")
        right.annotate(f"Cu({name})", (layers[-1], values[-1]), (0, 6), **beside)
    right.margins(y=0.15)
    right.set(xlabel="layers", ylabel="surface energy (J/m²)")
    figure.savefig(IMAGES / "energies_emt.svg")


def relaxed(atoms: Atoms) -> Atoms:
    """Positions and cell at EMT's minimum."""
    return relax(atoms, calc=EMT(), cell="full", fmax=1e-4).atoms


def heating(folder: Path) -> None:
    """A cluster of copper heated from 300 to 2000 K: temperature and potential energy against time."""
    cluster = Icosahedron("Cu", 3)
    md(
        cluster,
        calc=EMT(),
        schedule="300>2000 20 ps",
        thermostat="bussi",
        timestep_fs=5,
        stats_every=10,
        out=folder,
    )
    rows = np.genfromtxt(folder / "stats.dat", names=True)
    time = rows["time_fs"] / 1000
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(time, rows["temperature_K"], color="#1f4e79", linewidth=0.8, label="atoms")
    above.plot(time, rows["target_K"], color="#b3261e", linewidth=1.0, label="thermostat")
    above.legend(frameon=False)
    below.plot(time, rows["epot_eV"] / len(cluster), color="#1f4e79", linewidth=0.8)
    above.set(ylabel="temperature (K)")
    below.set(xlabel="time (ps)", ylabel="potential energy (eV/atom)")
    figure.savefig(IMAGES / "heating_cu.svg")


def dynamics(folder: Path) -> None:
    """Copper at 1000 K for 8 ps."""
    atoms = bulk("Cu", "fcc", a=3.66, cubic=True) * 2
    settings = dict(thermostat="bussi", temperature_k=1000, timestep_fs=4, steps=2000, traj_every=2)
    md(atoms, calc=EMT(), out=folder, **settings)
    analyse(folder / "traj.extxyz").plot(folder)
    shutil.copy(folder / "analysis.svg", IMAGES / "analysis_cu.svg")


PICTURES = (
    *(vibrations, hop, equation_of_state, elastic_constants, bands, thermal_expansion, energies, heating),
    dynamics,
)


def main() -> None:
    """Draw those that are named, or all of them."""
    wanted = sys.argv[1:] or [picture.__name__ for picture in PICTURES]
    for picture in PICTURES:
        if picture.__name__ in wanted:
            with tempfile.TemporaryDirectory() as folder:
                picture(Path(folder))


if __name__ == "__main__":
    main()
