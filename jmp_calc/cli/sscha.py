"""``jmp-calc sscha``: phonons at a temperature; writes phonopy's own files, figures and summary.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click

from ..workflows.phonon.settings import FrequencyUnit
from ..workflows.phonon.sscha_settings import SschaSettings
from .arguments import Arguments
from .command_run import model_record
from .dry_run import dry_run_report
from .lattice_run import LatticeRun
from .options import Common, common_options, structure_argument

if TYPE_CHECKING:
    from ase import Atoms

    from ..workflows.phonon.sscha_result import SschaResult

EPILOG = """\b
Examples:
  jmp-calc sscha jmp_results/relax/opt.extxyz --temperature 300 --supercell "2 2 2" -o si_300
  jmp-calc sscha POSCAR --temperature 600 --snapshots 200 --iterations 20 --transient 8
  jmp-calc sscha POSCAR -o si_300 --resume --iterations 20

The cell is taken as that of the temperature: scale it first where the expansion matters (jmp-calc qha)."""

SSCHA = Arguments("workflows.phonon.sscha", "sscha", SschaSettings)


@click.command(epilog=EPILOG)
@structure_argument
@common_options(out="./jmp_results/sscha", dtype="float64")
@SSCHA.option("--temperature", "--temp", "temperature_k", argument="temperature_k", type=float)
@SSCHA.option("--snapshots", argument="snapshots", type=int)
@SSCHA.option("--iterations", argument="iterations", type=int)
@SSCHA.option("--transient", argument="transient", type=int)
@SSCHA.option("--tolerance", "tolerance_thz", argument="tolerance_thz", type=float)
@SSCHA.option("--supercell", "--dim", "supercell", argument="supercell")
@SSCHA.option("--min-length", argument="min_length", type=float)
@SSCHA.option("--displacement", "--amplitude", "displacement", argument="displacement", type=float)
@SSCHA.option("--mesh", argument="mesh")
@SSCHA.option("--bands", argument="bands")
@SSCHA.option("--band-points", "--n-qpoints", "band_points", argument="band_points", type=int)
@SSCHA.option("--relax/--no-relax", argument="relax")
@SSCHA.option("--fmax", argument="fmax", type=float)
@SSCHA.option("--relax-steps", argument="relax_steps", type=int)
@SSCHA.option("--allow-unconverged", argument="allow_unconverged", is_flag=True)
@SSCHA.option("--symprec", argument="symprec", type=float)
@SSCHA.option(
    "--imaginary-tolerance", "imaginary_tolerance_thz", argument="imaginary_tolerance_thz", type=float
)
@SSCHA.option("--born", argument="born", type=click.Path())
@SSCHA.option("--frequency-unit", argument="frequency_unit", type=click.Choice(get_args(FrequencyUnit)))
@click.option("--resume", is_flag=True, default=False, help=SSCHA.help("resume"))
@click.option("--plot/--no-plot", default=True, show_default=True, help=SSCHA.help("plot"))
@click.option("--allow-truncated", is_flag=True, help="Drop an incomplete last frame of an (ext)xyz file.")
def sscha(struct: str, common: Common, resume: bool, plot: bool, allow_truncated: bool, **given: Any) -> None:
    """Phonons of STRUCT (any ASE file, FILE@INDEX) at a temperature, anharmonic motion included.

    Atoms are displaced at random as they move at the temperature, force constants are fitted to the forces,
    and again until they stay (stochastic self-consistent harmonic approximation). Phases that are stable by
    their motion only have real frequencies here. Exit code 3 when the iterations have not settled; the files
    are written all the same, and --resume goes on.
    """
    from ..io.structures import pick_structure
    from ..workflows.phonon.sscha import sscha as run_sscha
    from ..workflows.phonon.sscha_result import OUTPUTS

    settings = SschaSettings(**given, seed=common.seed)
    picked = pick_structure(struct, allow_truncated=allow_truncated)
    atoms = picked.atoms
    run = LatticeRun(common, "sscha", picked, settings, outputs=OUTPUTS, resume=resume)
    if common.dry_run:
        run.check()
        _dry_run(struct, atoms, common, settings)
        return
    with run:
        calculator = run.begin()
        files: dict[str, Any] = {"out": common.out, "prefix": common.prefix, "plot": plot}
        result = run_sscha(
            atoms, calc=calculator, **settings.to_dict(), **files, resume=resume, quiet=common.quiet
        )
        run.record(result, OUTPUTS, _lines(result))
        result.require_converged()


def _lines(result: SschaResult) -> list[str]:
    """What one must know of the phonons."""
    kelvin = result.settings.temperature_k
    return [
        f"lowest frequency {result.lowest_thz:z.3f} THz at {kelvin:g} K, "
        f"{result.lowest_at_rest_thz:z.3f} THz of the atoms at rest",
        f"free energy {1e3 * result.free_energy_ev:.2f} ± {1e3 * result.free_energy_error_ev:.2g} meV per "
        f"primitive cell, harmonic {1e3 * result.harmonic_free_energy_ev:.2f} meV",
        f"averaged iterations drift by {result.drift_thz:.2g} THz",
    ]


def _dry_run(struct: str, atoms: Atoms, common: Common, settings: SschaSettings) -> None:
    """Say which supercell and how many calculations it would be."""
    from ..workflows.phonon.phonons import displacements
    from ..workflows.phonon.sscha import check_snapshots
    from ..workflows.phonon.sscha_result import OUTPUTS

    phonon, _, periodic = displacements(atoms, settings.of_phonons())
    check_snapshots(phonon, settings)
    at_rest = len(phonon.supercells_with_displacements)
    facts = {
        "structure": f"{atoms.get_chemical_formula()} from {struct}",
        "model": model_record(common.calculator(atoms)),
        **settings.to_dict(),
        "periodic": periodic.tolist(),
        "supercell": phonon.supercell_matrix.tolist(),
        "supercell_atoms": len(phonon.supercell),
        "force_calculations": at_rest + 1 + settings.iterations * settings.snapshots,
        "writes": ", ".join(OUTPUTS),
    }
    dry_run_report(common, "sscha", facts)
