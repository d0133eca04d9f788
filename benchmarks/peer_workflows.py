"""Workflows of matcalc and janus-core with JMPCalculator, beside ours: do they agree?

    python -m venv matcalc-env && matcalc-env/bin/pip install torch==2.13.0
    matcalc-env/bin/pip install matcalc==0.7.0 platformdirs filelock tqdm matscipy
    python -m venv janus-env && janus-env/bin/pip install torch==2.13.0
    janus-env/bin/pip install janus-core==0.9.8 platformdirs filelock tqdm matscipy
    python benchmarks/peer_workflows.py --matcalc matcalc-env/bin/python --janus janus-env/bin/python

Each program computes in a process and an environment of its own (janus-core needs another phonopy), with jmp-xs
(head pbe, float64, one thread) and the same crystals, relaxed by us, so that only the workflows differ: bulk
modulus from energies at the same range of volumes, elastic constants with relaxed ions, phonon frequencies at
five points, and the barrier of a vacancy. Writes benchmarks/results/peer_workflows.yaml row by row; ends with exit
code 1 where a difference is above its limit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "peer_workflows.yaml"
CRYSTALS = {"Si": ("diamond", 5.46), "Cu": ("fcc", 3.63), "Al": ("fcc", 4.04)}
VACANCY = "Al"
RELATIVE = {"bulk_modulus_gpa": 0.005, "elastic_gpa": 0.01}
ABSOLUTE = {"phonons_thz": 0.02, "barrier_ev": 0.001}
"""Largest difference between two programs: a share of the number (of the largest constant), or as it is."""
QUANTITIES = (*RELATIVE, *ABSOLUTE)
STRAIN, DISPLACEMENT, SUPERCELL = 0.005, 0.01, 3
"""Of elastic constants; Å, and primitive cells along each axis, of phonons."""
QPOINTS = ((0.5, 0.0, 0.0), (0.5, 0.5, 0.0), (0.5, 0.25, 0.75), (1 / 3, 0.0, 0.0), (0.1, 0.2, 0.3))
"""Fractions of the reciprocal vectors of the primitive cell."""
VOLUMES, N_VOLUMES, IMAGES, BAND_FMAX = 0.06, 11, 3, 0.003
Values = dict[str, list[float]]
"""Numbers by ``quantity/crystal``."""


def main() -> None:
    """Compare, or be one of the programs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--matcalc", type=Path, help="interpreter of the environment with matcalc")
    parser.add_argument("--janus", type=Path, help="interpreter of the environment with janus-core")
    parser.add_argument("--rows", nargs="*", choices=all_rows(), default=all_rows())
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--serve", nargs=2, metavar=("PROGRAM", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        print(json.dumps(serve(args.serve[0], Path(args.serve[1]), args.rows)))
        return
    sys.path.insert(0, str(HERE))
    raise SystemExit(0 if compare(args) else 1)


def all_rows() -> list[str]:
    """Names of all rows."""
    crystals = [f"{name}/{crystal}" for name in QUANTITIES[:3] for crystal in CRYSTALS]
    return [*crystals, f"barrier_ev/{VACANCY}"]


# ------------------------------------------------------------------ comparing


def compare(args: argparse.Namespace) -> bool:
    """Run the programs after one another and write the rows; whether all agree."""
    from rows import write_row

    interpreters = {"ours": Path(sys.executable), "matcalc": args.matcalc, "janus": args.janus}
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), args.rows)
        values = {
            name: run(name, python, folder, args.rows) for name, python in interpreters.items() if python
        }
    agree = True
    for row in args.rows:
        numbers = {name: found[row] for name, found in values.items() if row in found}
        entry = compared(row, numbers)
        agree = agree and entry["agree"]
        write_row(
            args.results,
            row,
            entry,
            what="the same crystals with jmp-xs by three programs; benchmarks/peer_workflows.py",
            threads=1,
            order=all_rows(),
        )
        print(row, entry, flush=True)
    return agree


def prepare(folder: Path, rows: list[str]) -> None:
    """Relax the crystals of the rows and the ends of the vacancy's path, with our relaxation."""
    from ase.build import bulk
    from ase.io import write

    from jmp_calc import relax

    for symbol in {row.split("/")[1] for row in rows}:
        structure, length = CRYSTALS[symbol]
        crystal = bulk(symbol, structure, a=length, cubic=True)
        done = relax(crystal, calc=calculator(), cell="full", fmax=1e-5, steps=300)
        write(folder / f"{symbol}.extxyz", bare(done.atoms))
        if f"barrier_ev/{symbol}" in rows:
            for name, end in zip(("initial", "final"), vacancy_ends(done.atoms)):
                done_end = relax(end, calc=calculator(), fmax=1e-4, steps=500)
                write(folder / f"{name}.extxyz", bare(done_end.atoms))


def vacancy_ends(cell: Atoms) -> tuple[Atoms, Atoms]:
    """A vacancy, and its neighbour's hop into it: the same atoms in the same order."""
    full = bare(cell) * (2, 2, 2)
    distances = full.get_distances(0, range(len(full)), mic=True)
    hopping = int(np.argsort(distances)[1])
    initial, final = full.copy(), full.copy()
    final.positions[hopping] += final.get_distance(hopping, 0, mic=True, vector=True)
    del initial[0], final[0]
    return initial, final


def bare(atoms: Atoms) -> Atoms:
    """Without calculator, constraints and notes."""
    from ase import Atoms as Bare

    return Bare(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def run(name: str, python: Path, folder: str, rows: list[str]) -> Values:
    """Numbers of one program."""
    command = [str(python), __file__, "--serve", name, folder, "--rows", *rows]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-4000:]}")
    values: Values = json.loads(done.stdout.splitlines()[-1])
    return values


def compared(row: str, numbers: Values) -> dict[str, Any]:
    """The numbers, the largest difference of a peer from ours, and whether it is within the limit."""
    name = row.split("/")[0]
    ours = np.array(numbers["ours"])
    gaps = {
        peer: float(np.abs(np.array(found) - ours).max()) for peer, found in numbers.items() if peer != "ours"
    }
    scale = float(np.abs(ours).max()) if name in RELATIVE else 1.0
    limit = RELATIVE.get(name) or ABSOLUTE[name]
    shown = {peer: [round(value, 4) for value in found[:6]] for peer, found in numbers.items()}
    return {
        **shown,
        "largest_difference": max(gaps.values(), default=0.0) / scale,
        "limit": limit,
        "agree": all(gap / scale <= limit for gap in gaps.values()),
    }


# ------------------------------------------------------------------ computing, in any of the environments


def calculator() -> Any:
    """The model of all programs."""
    from jmp_calc import JMPCalculator

    return JMPCalculator("jmp-xs", head="pbe", dtype="float64", device="cpu")


def serve(program: str, folder: Path, rows: list[str]) -> Values:
    """Numbers of one program for the rows, in the folder with the structures."""
    import warnings

    from ase.build import bulk
    from ase.io import read

    warnings.simplefilter("ignore")
    values: Values = {}
    for row in rows:
        name, crystal = row.split("/")
        files = ("initial", "final") if name == "barrier_ev" else (crystal,)
        structures = [read(folder / f"{file}.extxyz") for file in files]
        if name == "phonons_thz":
            structures = [bulk(crystal, CRYSTALS[crystal][0], a=structures[0].cell[0, 0])]
        values[row] = [float(value) for value in PROGRAMS[program][name](*structures)]
    return values


def cubic(constants: np.ndarray) -> list[float]:
    """C11, C12 and C44 of a cubic tensor in Voigt notation, GPa, each the mean over the axes."""
    c = np.asarray(constants)
    return [c[:3, :3].trace() / 3, (c[0, 1] + c[0, 2] + c[1, 2]) / 3, c[3:, 3:].trace() / 3]


def our_bulk_modulus(crystal: Atoms) -> list[float]:
    from jmp_calc import eos

    limits = dict(min_volume=1 - VOLUMES, max_volume=1 + VOLUMES, n_volumes=N_VOLUMES)
    fit = eos(crystal, calc=calculator(), **limits).fit
    assert fit is not None
    return [fit.bulk_modulus_gpa]


def our_elastic(crystal: Atoms) -> list[float]:
    from jmp_calc import elastic

    return cubic(elastic(crystal, calc=calculator(), max_strain=STRAIN).tensor.constants_gpa)


def our_phonons(crystal: Atoms) -> list[float]:
    from jmp_calc import phonons

    result = phonons(
        crystal, calc=calculator(), supercell=[SUPERCELL] * 3, displacement=DISPLACEMENT, relax=False
    )
    return frequencies(result.phonopy)


def our_barrier(initial: Atoms, final: Atoms) -> list[float]:
    from jmp_calc import neb

    path = neb(initial, final, calc=calculator(), images=IMAGES, fmax=BAND_FMAX, relax_ends=False)
    return [path.barrier_ev]


def frequencies(phonon: Any) -> list[float]:
    """THz, at fixed points of the zone of the primitive cell that was given."""
    assert len(phonon.primitive) == len(phonon.unitcell)
    phonon.run_qpoints(QPOINTS)
    return np.asarray(phonon.get_qpoints_dict()["frequencies"]).ravel().tolist()


def matcalc_bulk_modulus(crystal: Atoms) -> list[float]:
    from matcalc import EOSCalc

    widest = (1 + VOLUMES) ** (1 / 3) - 1
    options = dict(max_abs_strain=widest, n_points=N_VOLUMES, relax_structure=False, fmax=1e-3)
    done = EOSCalc(calculator(), allow_shape_change=False, **options).calc(crystal)
    return [done["bulk_modulus_bm"]]


def matcalc_elastic(crystal: Atoms) -> list[float]:
    from matcalc import ElasticityCalc

    strains = (-STRAIN, -STRAIN / 2, STRAIN / 2, STRAIN)
    options = dict(norm_strains=strains, shear_strains=strains, fmax=1e-4, units_GPa=True)
    done = ElasticityCalc(
        calculator(), relax_structure=False, relax_deformed_structures=True, **options
    ).calc(crystal)
    return cubic(np.asarray(done["elastic_tensor"].voigt))


def matcalc_phonons(crystal: Atoms) -> list[float]:
    from matcalc import PhononCalc

    matrix = SUPERCELL * np.eye(3, dtype=int)
    options = dict(atom_disp=DISPLACEMENT, supercell_matrix=matrix, relax_structure=False, write_phonon=False)
    return frequencies(PhononCalc(calculator(), **options).calc(crystal)["phonon"])


def matcalc_barrier(initial: Atoms, final: Atoms) -> list[float]:
    from matcalc import NEBCalc
    from pymatgen.io.ase import AseAtomsAdaptor

    ends = [AseAtomsAdaptor.get_structure(end) for end in (initial, final)]
    done = NEBCalc(calculator(), optimizer="FIRE", fmax=BAND_FMAX).calc_images(*ends, n_images=IMAGES)
    return [done["barrier"]]


def janus_bulk_modulus(crystal: Atoms) -> list[float]:
    from janus_core.calculations.eos import EoS

    limits = dict(min_volume=1 - VOLUMES, max_volume=1 + VOLUMES, n_volumes=N_VOLUMES)
    done = EoS(with_calculator(crystal), minimize=False, write_results=False, **limits).run()
    return [done["bulk_modulus"]]


def janus_elastic(crystal: Atoms) -> list[float]:
    from janus_core.calculations.elasticity import Elasticity

    relaxation = dict(fmax=1e-4, filter_class=None, write_results=False)
    strains = dict(normal_magnitude=STRAIN, shear_magnitude=STRAIN)
    work = with_calculator(crystal)
    done = Elasticity(
        work, minimize=False, minimize_all=True, minimize_kwargs=relaxation, write_results=False, **strains
    ).run()
    return cubic(np.asarray(done.voigt))


def janus_phonons(crystal: Atoms) -> list[float]:
    from janus_core.calculations.phonons import Phonons

    options = dict(supercell=[SUPERCELL] * 3, displacement=DISPLACEMENT, write_results=False)
    work = Phonons(with_calculator(crystal), **options)
    work.run()
    return frequencies(work.results["phonon"])


def janus_barrier(initial: Atoms, final: Atoms) -> list[float]:
    from janus_core.calculations.neb import NEB

    options = dict(n_images=IMAGES, optimizer="FIRE", fmax=BAND_FMAX, steps=500, write_results=False)
    ends = (with_calculator(initial), with_calculator(final))
    work = NEB(*ends, neb_kwargs={"climb": True}, interpolator_kwargs={"mic": True}, **options)
    return [work.run()["barrier"]]


def with_calculator(atoms: Atoms) -> Atoms:
    """A copy that computes."""
    atoms = atoms.copy()
    atoms.calc = calculator()
    return atoms


OURS = (our_bulk_modulus, our_elastic, our_phonons, our_barrier)
MATCALC = (matcalc_bulk_modulus, matcalc_elastic, matcalc_phonons, matcalc_barrier)
JANUS = (janus_bulk_modulus, janus_elastic, janus_phonons, janus_barrier)
PROGRAMS: dict[str, dict[str, Callable[..., list[float]]]] = {
    name: dict(zip(QUANTITIES, functions))
    for name, functions in (("ours", OURS), ("matcalc", MATCALC), ("janus", JANUS))
}

if __name__ == "__main__":
    main()
