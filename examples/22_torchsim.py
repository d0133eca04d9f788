"""TorchSim on jmp-xs: crystals relaxed side by side, then a thermostat for all of them, in batches.

pip install "jmp-calc[torchsim]"
python examples/22_torchsim.py

For torch-sim-atomistic 0.3 (Python 3.11); 0.6 names the same things ts.Optimizer.fire and
ts.Integrator.nvt_langevin.
"""

import torch
import torch_sim as ts
from ase.build import bulk

from jmp_calc import JMPCalculator
from jmp_calc.engines.torchsim import JMPModel

model = JMPModel("jmp-xs", head="pbe", dtype=torch.float64, device="cpu")
crystals = [bulk(symbol, cubic=True) for symbol in ("Si", "Cu", "Al", "Ni")]
for seed, crystal in enumerate(crystals):
    crystal.rattle(0.05, seed=seed)

relaxed = ts.optimize(
    system=crystals,
    model=model,
    optimizer=ts.optimizers.fire,
    convergence_fn=ts.generate_force_convergence_fn(force_tol=0.01, include_cell_forces=False),
    max_steps=200,
)
calc = JMPCalculator("jmp-xs", head="pbe", dtype="float64", device="cpu")
frames = ts.io.state_to_atoms(relaxed)
largest = max(abs(calc.get_forces(frame)).max() for frame in frames)
print(f"largest force after the relaxation {largest:.4f} eV/Å (expect 0 to 0.01)")
differences = [calc.get_potential_energy(frame) - float(e) for frame, e in zip(frames, relaxed.energy)]
print(f"energies less those of ASE: at most {1e6 * max(map(abs, differences)):.3f} µeV (expect 0 to 1)")

moved = ts.integrate(
    system=relaxed,
    model=model,
    integrator=ts.nvt_langevin,
    n_steps=50,
    temperature=600.0,
    timestep=0.002,
)
kelvin = ts.calc_kT(momenta=moved.momenta, masses=moved.masses, system_idx=moved.system_idx)
kelvin = kelvin / float(ts.units.MetalUnits.temperature)
print(f"mean temperature after 0.1 ps {float(kelvin.mean()):.0f} K (expect 150 to 1200)")
