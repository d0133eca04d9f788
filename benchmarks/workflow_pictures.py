"""Pictures of the pages on workflows, with ASE's EMT where nothing else is said, all or some:

    python benchmarks/workflow_pictures.py
    python benchmarks/workflow_pictures.py energies bands

Writes into docs/images vib_cu13.svg (vibrations), neb_hop.svg (hop), ts_hop.svg (transition_state, where Sella
is installed), adsorb_cu.svg (adsorption), eos_cu.svg (equation_of_state), elastic_ni.svg and young_ni.svg
(elastic_constants), phonons_cu.svg (bands), phonons_dos_cu3au.svg (densities), qha_cu.svg,
helmholtz_cu.svg and gruneisen_cu.svg (thermal_expansion), energies_emt.svg (energies), stresses_cu.svg
(stresses, by jmp-xs), dispersion_methane.svg (attraction, by jmp-xs, where dftd3 is), screen_alloys.svg
(alloys), analysis_cu.svg (dynamics), md_cu.svg (ramp) and check_emt.svg (battery), sscha_bands_al.svg and
sscha_iterations_al.svg (at_temperature), kappa_cu.svg and kappa_cumulative_cu.svg (heat, where phono3py
is), sample_crystals.png and sample_molecules.png (samples, the latter where RDKit is).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from importlib.util import find_spec
from itertools import permutations
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100, fcc110, fcc111, molecule
from ase.calculators.emt import EMT
from ase.cluster import Icosahedron
from ase.constraints import FixAtoms
from matplotlib.figure import Figure

from jmp_calc import (
    JMPCalculator,
    adsorb,
    analyse,
    check,
    conductivity,
    elastic,
    eos,
    formation_energy,
    md,
    neb,
    phonons,
    qha,
    relax,
    screen,
    sscha,
    surface_energy,
    ts,
    vib,
    with_dispersion,
)
from jmp_calc.workflows.relax_settings import RelaxSettings

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def vibrations(folder: Path) -> None:
    """Modes of a cluster of thirteen atoms."""
    cluster = Icosahedron("Cu", 2)
    cluster.calc = EMT()
    vib(cluster, out=folder)
    shutil.copy(folder / "spectrum.svg", IMAGES / "vib_cu13.svg")


def gold_on_aluminium() -> Atoms:
    """A gold atom in a hollow of the (100) surface of aluminium."""
    slab = fcc100("Al", size=(2, 2, 3))
    add_adsorbate(slab, "Au", 1.7, "hollow")
    slab.center(axis=2, vacuum=4.0)
    slab.set_constraint(FixAtoms([atom.index for atom in slab if atom.tag > 1]))
    slab.calc = EMT()
    return slab


def transition_state(folder: Path) -> None:
    """The same hop, from a gold atom put about half-way."""
    guess = gold_on_aluminium()
    guess.positions[-1] += [0.4 * 0.5 * guess.cell[0, 0], 0.1, 0.2]
    ts(guess, out=folder)
    shutil.copy(folder / "ts.svg", IMAGES / "ts_hop.svg")


def hop(folder: Path) -> None:
    """A gold atom on aluminium, from one hollow to the next."""
    initial = gold_on_aluminium()
    final = initial.copy()
    final.positions[-1, 0] += 0.5 * initial.cell[0, 0]
    neb(initial, final, images=5, out=folder)
    shutil.copy(folder / "barrier.svg", IMAGES / "neb_hop.svg")


def adsorption(folder: Path) -> None:
    """Carbon monoxide on copper (111)."""
    slab = fcc111("Cu", (2, 2, 3), vacuum=8.0)
    adsorb(slab, "CO", calc=EMT(), fix_bottom=0.6, fmax=0.05, out=folder)
    shutil.copy(folder / "adsorb.svg", IMAGES / "adsorb_cu.svg")


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
    for name in ("qha", "helmholtz", "gruneisen"):
        shutil.copy(folder / f"{name}.svg", IMAGES / f"{name}_cu.svg")


def densities(folder: Path) -> None:
    """Density of states of the phonons of Cu3Au, by element."""
    alloy = bulk("Cu", a=3.75, cubic=True)
    alloy.symbols[0] = "Au"
    alloy = relax(alloy, calc=EMT(), cell="full", fmax=1e-4).atoms
    phonons(alloy, calc=EMT(), supercell="3 3 3", mesh="15 15 15", pdos=True, out=folder)
    shutil.copy(folder / "dos.svg", IMAGES / "phonons_dos_cu3au.svg")


def at_temperature(folder: Path) -> None:
    """Bands of aluminium at rest and at 700 K, and the free energies of the iterations."""
    aluminium = relax(bulk("Al", a=4.0), calc=EMT(), cell="full", fmax=1e-4).atoms
    settings = dict(supercell="3 3 3", mesh="9 9 9", snapshots=60, iterations=10)
    sscha(aluminium, calc=EMT(), temperature_k=700, **settings, out=folder)
    shutil.copy(folder / "band.svg", IMAGES / "sscha_bands_al.svg")
    shutil.copy(folder / "iterations.svg", IMAGES / "sscha_iterations_al.svg")


def heat(folder: Path) -> None:
    """Thermal conductivity of copper's phonons; nothing without phono3py."""
    if find_spec("phono3py") is None:
        return
    copper = relax(bulk("Cu", a=3.6), calc=EMT(), cell="full", fmax=1e-4).atoms
    conductivity(copper, calc=EMT(), supercell="3 3 3", fc2_supercell="4 4 4", mesh="11 11 11", out=folder)
    shutil.copy(folder / "kappa.svg", IMAGES / "kappa_cu.svg")
    shutil.copy(folder / "cumulative.svg", IMAGES / "kappa_cumulative_cu.svg")


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


def stresses(folder: Path) -> None:
    """Stresses of the atoms of two copper surfaces by jmp-xs, times the volume, against the height."""
    calculator = JMPCalculator("jmp-xs", head="pbe", dtype="float64")
    copper = relax(bulk("Cu"), calc=calculator, cell="full", fmax=1e-4).atoms
    length = float(np.sqrt(2) * np.linalg.norm(copper.cell[0]))
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, build, colour in (("111", fcc111, "#1f4e79"), ("100", fcc100, "#b5482a")):
        slab = build("Cu", (1, 1, 13), a=length, vacuum=8.0, periodic=True)
        slab = relax(slab, calc=calculator, fmax=1e-3).atoms
        virials = slab.get_stresses()[:, :2].mean(axis=1) * slab.get_volume()
        height = slab.positions[:, 2] - slab.positions[:, 2].mean()
        order = np.argsort(height)
        axes.plot(height[order], virials[order], "o-", color=colour, linewidth=1.0, label=f"Cu({name})")
    axes.axhline(0.0, color="#b0b7bf", linewidth=0.6)
    axes.set(xlabel="height in the slab (Å)", ylabel="in-plane stress × volume (eV)")
    axes.legend(frameon=False)
    figure.savefig(IMAGES / "stresses_cu.svg")


def attraction(folder: Path) -> None:
    """Energy of two methane molecules against the distance of their carbon atoms, B3LYP by jmp-xs with and
    without D3(BJ)."""
    single = molecule("CH4")
    distances = np.arange(3.3, 8.01, 0.1)
    pairs = []
    for distance in distances:
        other = single.copy()
        other.positions[:, 2] += distance
        pairs.append(single + other)
    figure = Figure(figsize=(4.4, 3.3), layout="constrained")
    axes = figure.subplots()
    plain = JMPCalculator("jmp-xs", head="b3lyp", device="cpu")
    for calc, label in ((plain, "B3LYP by jmp-xs"), (with_dispersion(plain), "with D3(BJ)")):
        energies = [one["energy"] for one in calc.batch([single, *pairs], ("energy",))]
        axes.plot(distances, [1000 * (energy - 2 * energies[0]) for energy in energies[1:]], label=label)
    axes.axhline(0.0, color="0.7", linewidth=0.8)
    axes.set_xlabel("distance of the carbon atoms (Å)")
    axes.set_ylabel("energy of the pair (meV)")
    axes.set_ylim(-40, 60)
    axes.legend(frameon=False)
    figure.savefig(IMAGES / "dispersion_methane.svg", metadata={"Date": None})


def samples(folder: Path) -> None:
    """One sample of each kind: of crystals, and where RDKit is of molecules."""
    from ase.visualize.plot import plot_atoms

    from jmp_calc.sampling.sample import sample

    drawn = [("crystals", (4, 12), 0.5)]
    if find_spec("rdkit") is not None:
        drawn.append(("molecules", (10, 16), 0.9))
    for what, size, radii in drawn:
        first: dict[str, Atoms] = {}
        for atoms in sample(what, count=400, seed=1, atoms=size, out=folder / what).frames:
            if atoms.info["sample_kind"] != "isolated":
                first.setdefault(atoms.info["sample_kind"], atoms)
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        panels = figure.subplots(2, (len(first) + 1) // 2)
        for axes in panels.flat:
            axes.set_axis_off()
        for axes, (kind, atoms) in zip(panels.flat, sorted(first.items())):
            plot_atoms(atoms, axes, rotation="-70x,20y,5z", radii=radii, show_unit_cell=2 * any(atoms.pbc))
            axes.set_title(f"{kind}: {atoms.symbols.get_chemical_formula()}", fontsize=8)
        figure.savefig(IMAGES / f"sample_{what}.png", dpi=110)


def relaxed(atoms: Atoms) -> Atoms:
    """Positions and cell at EMT's minimum."""
    return relax(atoms, calc=EMT(), cell="full", fmax=1e-4).atoms


def alloys(folder: Path) -> None:
    """Ordered alloys of two of six metals, relaxed with their cells."""
    lengths = {"Cu": 3.61, "Ag": 4.09, "Au": 4.08, "Ni": 3.52, "Pd": 3.89, "Pt": 3.92}
    found = []
    for one, other in permutations(lengths, 2):
        cell = bulk(one, "fcc", a=(3 * lengths[one] + lengths[other]) / 4, cubic=True)
        cell.symbols[0] = other  # L1_2
        found.append(cell)
    screen(found, calc=EMT, settings=RelaxSettings(cell="full", fix_symmetry=True), out=folder)
    shutil.copy(folder / "screen.svg", IMAGES / "screen_alloys.svg")


def dynamics(folder: Path) -> None:
    """Copper at 1000 K for 8 ps."""
    atoms = bulk("Cu", "fcc", a=3.66, cubic=True) * 2
    settings = dict(thermostat="bussi", temperature_k=1000, timestep_fs=4, steps=2000, traj_every=2)
    md(atoms, calc=EMT(), out=folder, **settings)
    analyse(folder / "traj.extxyz").plot(folder)
    shutil.copy(folder / "analysis.svg", IMAGES / "analysis_cu.svg")


def battery(folder: Path) -> None:
    """What effective medium theory obeys, and by how much."""
    check(EMT(), out=folder)
    shutil.copy(folder / "check.svg", IMAGES / "check_emt.svg")


def ramp(folder: Path) -> None:
    """Copper heated from 300 to 1200 K, held, and quenched to 300 K."""
    atoms = bulk("Cu", "fcc", a=3.62, cubic=True) * 2
    schedule = "300 1 ps, 300>1200 3 ps, 1200 2 ps, 300 2 ps"
    md(atoms, calc=EMT(), ensemble="npt", schedule=schedule, timestep_fs=4, out=folder / "ramp")
    shutil.copy(folder / "ramp/md.svg", IMAGES / "md_cu.svg")


PICTURES = (
    *(vibrations, hop, *((transition_state,) if find_spec("sella") is not None else ()), adsorption),
    *(equation_of_state, elastic_constants, bands, densities, thermal_expansion, at_temperature),
    *(heat, energies, stresses, *((attraction,) if find_spec("dftd3") is not None else ())),
    *(alloys, dynamics, ramp, battery, samples),
)
"""In the order of the pages; Sella, phono3py, dftd3 and RDKit are extras."""


def main() -> None:
    """Draw those that are named, or all of them."""
    wanted = sys.argv[1:] or [picture.__name__ for picture in PICTURES]
    for picture in PICTURES:
        if picture.__name__ in wanted:
            with tempfile.TemporaryDirectory() as folder:
                picture(Path(folder))


if __name__ == "__main__":
    main()
