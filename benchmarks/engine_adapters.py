"""One structure in each engine, for benchmarks/engines.py: results of it, and its dynamics.

A new engine is a class with ``results`` and ``totals`` and a line in ADAPTERS. One that talks to another
process serves itself from a thread, so that the processor time of both is counted.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ase import Atoms, units
from ase.io import write
from ase.md.verlet import VelocityVerlet

from jmp_calc import JMPCalculator
from jmp_calc.inference.results import voigt


@dataclass(frozen=True)
class Job:
    """What every engine gets."""

    atoms: Atoms
    """With momenta; not rotated by engines whose first cell vector is along x."""
    head: str
    dtype: str
    timestep_fs: float

    def calculator(self) -> JMPCalculator:
        """jmp-xs as these settings have it."""
        return JMPCalculator("jmp-xs", head=self.head, dtype=self.dtype, device="cpu")


@dataclass(frozen=True)
class Results:
    """Of one structure."""

    energy: float
    """eV"""
    forces: np.ndarray
    """(N, 3) eV/Å"""
    stress: np.ndarray | None
    """(6,) eV/Å³ as ASE has it; None where the engine or the structure has none."""


class Engine(Protocol):
    """One structure in one engine."""

    def results(self) -> Results:
        """Of the structure as it is."""

    def totals(self, steps: int, every: int) -> list[float]:
        """Total energies in eV after every so many steps of NVE."""


class InASE:
    """The reference."""

    def __init__(self, job: Job) -> None:
        self._atoms = job.atoms.copy()
        self._atoms.calc = job.calculator()
        self._dynamics = VelocityVerlet(self._atoms, timestep=job.timestep_fs * units.fs)

    def results(self) -> Results:
        """Of the structure as it is."""
        stress = self._atoms.get_stress() if self._atoms.pbc.any() else None
        return Results(self._atoms.get_potential_energy(), self._atoms.get_forces(), stress)

    def totals(self, steps: int, every: int) -> list[float]:
        """Total energies in eV after every so many steps of NVE."""
        found = []
        for _ in range(steps // every):
            self._dynamics.run(every)
            found.append(self._atoms.get_total_energy())
        return found


class InLammps:
    """``fix external`` of jmp_calc.engines.lammps."""

    def __init__(self, job: Job) -> None:
        from jmp_calc.engines.lammps import attach, start

        self._periodic = bool(job.atoms.pbc.any())
        elements = sorted(set(job.atoms.get_chemical_symbols()))
        self._lmp = start(["-log", "none", "-screen", "none"])
        boundary = " ".join("p" if periodic else "f" for periodic in job.atoms.pbc)
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "atoms.data"
            write(data, job.atoms, format="lammps-data", specorder=elements, masses=True, velocities=True)
            self._lmp.commands_string(f"units metal\nboundary {boundary}\nread_data {data}")
        attach(self._lmp, job.calculator(), elements)
        step_ps = job.timestep_fs / 1000
        self._lmp.commands_string(
            f"thermo_modify norm no\ntimestep {step_ps}\nfix nve all nve\nthermo 1000000"
        )
        # Pressures of LAMMPS have the motion in them; the stress of ASE has not.
        self._lmp.commands_string(
            "compute still all pressure NULL virial\n"
            "thermo_style custom step pe etotal c_still[1] c_still[2] c_still[3] c_still[4] c_still[5] c_still[6]"
        )

    def results(self) -> Results:
        """Of the structure as it is."""
        self._lmp.command("run 0")
        atoms = slice(self._lmp.extract_setting("nlocal"))  # without their images
        order = np.argsort(self._lmp.numpy.extract_atom("id")[atoms])
        pressure = self._lmp.numpy.extract_compute("still", 0, 1)[[0, 1, 2, 5, 4, 3]]
        stress = -pressure * 1e-4 * units.GPa if self._periodic else None
        return Results(self._lmp.get_thermo("pe"), self._lmp.numpy.extract_atom("f")[atoms][order], stress)

    def totals(self, steps: int, every: int) -> list[float]:
        """Total energies in eV after every so many steps of NVE."""
        found = []
        for _ in range(steps // every):
            self._lmp.command(f"run {every} pre no post no")
            found.append(self._lmp.get_thermo("etotal"))
        return found


class InOpenMM:
    """The entry point of openmmml; OpenMM has no stress of such forces."""

    def __init__(self, job: Job) -> None:
        import openmm
        from openmm import app, unit
        from openmmml import MLPotential

        atoms, topology = job.atoms, app.Topology()
        residue = topology.addResidue("ALL", topology.addChain())
        for symbol in atoms.symbols:
            topology.addAtom(symbol, app.Element.getBySymbol(symbol), residue)
        if atoms.pbc.any():
            vectors = [openmm.Vec3(*row) for row in atoms.cell.array / 10]
            topology.setPeriodicBoxVectors(vectors * unit.nanometer)
        settings = {"head": job.head, "dtype": job.dtype, "device": "cpu"}
        system = MLPotential("jmp-xs").createSystem(topology, removeCMMotion=False, **settings)
        integrator = openmm.VerletIntegrator(job.timestep_fs * unit.femtosecond)
        platform = openmm.Platform.getPlatformByName("Reference")
        self._context = openmm.Context(system, integrator, platform)
        self._context.setPositions(atoms.positions / 10)
        self._context.setVelocities(atoms.get_velocities() * units.fs * 100)  # Å/fs are 100 nm/ps

    def _state(self, **wanted: bool) -> Any:
        return self._context.getState(**wanted)

    def results(self) -> Results:
        """Of the structure as it is."""
        state, kj_mol = self._state(energy=True, forces=True), units.kJ / units.mol
        forces = np.asarray(state.getForces(asNumpy=True)._value) * kj_mol / 10
        return Results(state.getPotentialEnergy()._value * kj_mol, forces, None)

    def totals(self, steps: int, every: int) -> list[float]:
        """Total energies in eV after every so many steps of NVE."""
        found = []
        for _ in range(steps // every):
            self._context.getIntegrator().step(every)
            state = self._state(energy=True)
            total = (state.getPotentialEnergy() + state.getKineticEnergy())._value
            found.append(total * units.kJ / units.mol)
        return found


class InTorchSim:
    """jmp_calc.engines.torchsim; one system at a time here, many are what it is for."""

    def __init__(self, job: Job) -> None:
        import torch

        own = sys.path.pop(0)  # benchmarks/tables.py hides the package tables, which TorchSim imports
        import torch_sim as ts
        from torch_sim.integrators import nve
        from torch_sim.units import MetalUnits

        from jmp_calc.engines.torchsim import JMPModel

        sys.path.insert(0, own)
        dtype = torch.float64
        periodic = bool(job.atoms.pbc.any())
        self._model = JMPModel(
            "jmp-xs",
            head=job.head,
            device="cpu",
            dtype=getattr(torch, job.dtype),
            compute_stress=periodic,
        )
        self._start = ts.io.atoms_to_state([job.atoms], torch.device("cpu"), dtype)
        time_step = torch.tensor(job.timestep_fs * 1e-3 * float(MetalUnits.time), dtype=dtype)
        init, self._step = nve(self._model, dt=time_step, kT=torch.tensor(0.025, dtype=dtype))
        self._state = init(self._start.clone(), seed=0)
        self._state.momenta = torch.tensor(job.atoms.get_momenta(), dtype=dtype)
        self._kinetic = ts.calc_kinetic_energy

    def results(self) -> Results:
        """Of the structure as it is."""
        found = self._model(self._start)
        stress = found.get("stress")
        components = None if stress is None else voigt(stress[0].numpy())
        return Results(float(found["energy"]), found["forces"].numpy(), components)

    def totals(self, steps: int, every: int) -> list[float]:
        """Total energies in eV after every so many steps of NVE."""
        found = []
        for step in range(1, steps + 1):
            self._state = self._step(self._state)
            if step % every == 0:
                state = self._state
                kinetic = self._kinetic(
                    momenta=state.momenta, masses=state.masses, system_idx=state.system_idx
                )
                found.append(float(state.energy + kinetic))
        return found


class InSocket(InASE):
    """ASE's SocketIOCalculator, answered by ``serve`` in a thread."""

    def __init__(self, job: Job) -> None:
        import threading

        from ase.calculators.socketio import SocketIOCalculator

        from jmp_calc.engines.serve import serve

        super().__init__(job)
        name, own = f"jmp_engines_{os.getpid()}_{job.dtype}", job.atoms.copy()
        own.calc = job.calculator()
        self._atoms.calc = SocketIOCalculator(unixsocket=name)
        answers = threading.Thread(
            target=serve, args=(own,), kwargs={"unix": name, "say": lambda line: None}, daemon=True
        )
        answers.start()


INPUT = """
<simulation verbosity="quiet">
  <ffdirect name="jmp" pbc="False">
    <pes> custom </pes>
    <pes_path> {driver} </pes_path>
    <parameters> {{template: {folder}/atoms.xyz, model: jmp-xs, head: {head}, dtype: {dtype}}} </parameters>
  </ffdirect>
  <system>
    <initialize nbeads="1">
      <file mode="ase" units="ase"> {folder}/atoms.xyz </file>
      <velocities mode="manual"> {velocities} </velocities>
    </initialize>
    <forces><force forcefield="jmp"/></forces>
    <motion mode="dynamics">
      <dynamics mode="nve"><timestep units="femtosecond"> {timestep_fs} </timestep></dynamics>
    </motion>
  </system>
</simulation>
"""


class InIPI:
    """The driver of jmp_calc.engines.ipi inside i-PI, one bead of classical dynamics."""

    def __init__(self, job: Job) -> None:
        from ipi.scripting import InteractiveSimulation
        from ipi.utils import units as ipi_units

        import jmp_calc.engines

        self._units, self._volume = ipi_units, job.atoms.cell.volume if job.atoms.pbc.any() else None
        still = job.atoms.copy()
        still.set_momenta(None)
        os.chdir(tempfile.mkdtemp(prefix="jmp-engines-"))  # i-PI writes its state where it is
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / "atoms.xyz", still, format="extxyz")
            text = INPUT.format(
                driver=Path(jmp_calc.engines.__path__[0]) / "ipi_driver.py",
                folder=folder,
                head=job.head,
                dtype=job.dtype,
                timestep_fs=job.timestep_fs,
                velocities=(job.atoms.get_velocities() * units.AUT / units.Bohr).ravel().tolist(),
            )
            self._run = InteractiveSimulation(text)
        self._system = self._run.syslist[0]

    def results(self) -> Results:
        """Of the structure as it is."""
        forces, to_user = self._system.forces, self._units.unit_to_user
        energy, length = to_user("energy", "electronvolt", 1.0), to_user("length", "angstrom", 1.0)
        stress = None
        if self._volume is not None:
            stress = -voigt(forces.virs[0]) * energy / self._volume
        return Results(float(forces.pots[0]) * energy, forces.f[0].reshape(-1, 3) * energy / length, stress)

    def totals(self, steps: int, every: int) -> list[float]:
        """Total energies in eV after every so many steps of NVE."""
        found = []
        for _ in range(steps // every):
            self._run.run(every, write_outputs=False)
            total = float(self._system.forces.pot + self._system.nm.kin)
            found.append(total * self._units.unit_to_user("energy", "electronvolt", 1.0))
        return found


ADAPTERS: dict[str, type[Engine]] = {
    "ASE": InASE,
    "LAMMPS": InLammps,
    "OpenMM": InOpenMM,
    "TorchSim": InTorchSim,
    "i-PI": InIPI,
    "serve": InSocket,
}
