"""Which of ASE's tests run through JMPCalculator, and which are left out, each with its reason.

Those that run are all tests of all modules below ase/test in which the word EMT occurs, beside what is named
here. ``EXCLUDED`` has patterns of ids below ase/test (as of ``fnmatch``, with [ and ] as they are).
"""

from __future__ import annotations

import re
from pathlib import Path

import ase.test

ASE_TESTS = Path(ase.test.__file__).parent

NUMBERS = "asserts a number of EMT itself"
OTHER_PROGRAM = "starts a program of its own in which EMT is EMT"
LONG = "minutes of dynamics with ASAP's compiled EMT in mind"
NOT_OURS = "of another calculator, which mentions EMT"
ALWAYS_FORCES = "asserts that forces come with every energy; ours come when they are asked for"
FAR = "goes to surroundings far from the data of the fit"
OF_EMT = "reads an attribute of EMT's class"
STEP = "asserts forces by finite differences whose own error (the square of their step) is larger here"

EXCLUDED: dict[str, str] = {
    "emt/*": "tests of EMT's own code",
    "fio/castep/*": NOT_OURS,
    "calculator/plumed/*": NOT_OURS,
    "calculator/test_ts09.py*": NOT_OURS,
    "calculator/test_dftd3.py*": NOT_OURS,
    "cli/*": OTHER_PROGRAM,
    "calculator/test_subprocess_calculator.py*": OTHER_PROGRAM,
    "md/test_verlet_thermostats_asap.py*": LONG,
    "md/test_nvt_npt.py*": LONG,
    "md/test_phonon_md_init.py*": LONG,
    "md/test_fixrotation.py*": LONG,
    "optimize/test_minimahop.py*": LONG,
    "test_thermochemistry.py::test_crystal_thermo": LONG,
    "atoms/test_h2.py::test_h2": STEP,
    "optimize/test_climb_fix_internals.py*": LONG,
    "optimize/test_fire.py::test_fire": FAR,
    "calculator/test_harmonic.py::test_compatible_with_ase_vibrations": NUMBERS,
    "vibrations/test_franck_condon.py::test_ch4_all*": NUMBERS,
    "test_thermochemistry.py::test_ideal_gas_thermo_ch3_v4": NUMBERS,
    "fio/test_extxyz.py::test_save_calc_results": ALWAYS_FORCES,
    "fio/test_extxyz.py::test_basic_functionality": ALWAYS_FORCES,
    "forcefields/test_forceqmmm.py::test_forceqmmm": OF_EMT,
    "ase4/symopt/test_restart.py::test_restart_consistent": NUMBERS,
    "ase4/symopt/test_surface.py::test_relaxation_old*": NUMBERS,
    "ase4/symopt/test_surface.py::test_relaxation_symopt*": NUMBERS,
    "ase4/test_optimize.py::test_optimizer?*BFGS?": NUMBERS,
    "ase4/test_optimize.py::test_new_optimizer_frechet?*BFGS?": NUMBERS,
    "ase4/test_optimize.py::test_restart?*BFGS?": NUMBERS,
    "db/test_db2.py::test_db2*": NUMBERS,
    "neb/test_autoneb.py*": NUMBERS,
    "precon/test_lbfgs.py::test_preconlbfgs": NUMBERS,
    "test_eos.py::test_eos": NUMBERS,
    "test_hcp.py::test_hcp": NUMBERS,
    "test_dimer_method.py::test_dimer_method": NUMBERS,
    "test_thermochemistry.py::test_ideal_gas_thermo_monoatomic": NUMBERS,
    "test_thermochemistry.py::test_ideal_gas_thermo_n2": NUMBERS,
    "test_thermochemistry.py::test_ideal_gas_thermo_ch3": NUMBERS,
}


def modules() -> list[str]:
    """Modules of ASE's tests with EMT in them, as pytest takes them with --pyargs."""
    files = sorted(ASE_TESTS.rglob("test_*.py"))
    named = [path for path in files if re.search(r"\bEMT\b|[\"']emt[\"']", path.read_text())]
    return ["ase.test." + ".".join(path.relative_to(ASE_TESTS).with_suffix("").parts) for path in named]
