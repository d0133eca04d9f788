"""``jmp-calc qha``: thermal expansion of a crystal; writes phonopy's own files, figures and summary.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click

from ..workflows.phonon.qha_settings import QhaEos, QhaRelax, QhaSettings
from .arguments import Arguments
from .command_run import model_record
from .dry_run import dry_run_report
from .lattice_run import LatticeRun
from .options import Common, common_options, structure_argument

if TYPE_CHECKING:
    from ase import Atoms

    from ..workflows.phonon.qha_result import QhaResult

EPILOG = """\b
Examples:
  jmp-calc qha jmp_results/relax/opt.extxyz --supercell "3 3 3" -o si_qha
  jmp-calc qha quartz.cif --relax shape --min-length 12 --tmax 800
  jmp-calc qha POSCAR --min-volume 0.95 --max-volume 1.1 --n-volumes 11 --pressure 5

Relax the cell first (jmp-calc relax --opt-cell full): the volumes are relative to that of STRUCT."""

QHA = Arguments("workflows.phonon.qha", "qha", QhaSettings)


@click.command(epilog=EPILOG)
@structure_argument
@common_options(out="./jmp_results/qha", dtype="float64")
@QHA.option("--min-volume", argument="min_volume", type=float)
@QHA.option("--max-volume", argument="max_volume", type=float)
@QHA.option("--n-volumes", argument="n_volumes", type=int)
@QHA.option("--eos", argument="eos", type=click.Choice(get_args(QhaEos)))
@QHA.option("--pressure", "pressure_gpa", argument="pressure_gpa", type=float)
@QHA.option("--relax", argument="relax", type=click.Choice(get_args(QhaRelax)))
@QHA.option("--supercell", "--dim", "supercell", argument="supercell")
@QHA.option("--min-length", argument="min_length", type=float)
@QHA.option("--displacement", "--amplitude", "displacement", argument="displacement", type=float)
@QHA.option("--mesh", argument="mesh")
@QHA.option("--tmax", "--temp-max", "tmax", argument="tmax", type=float)
@QHA.option("--tstep", "--temp-step", "tstep", argument="tstep", type=float)
@QHA.option("--fmax", argument="fmax", type=float)
@QHA.option("--relax-steps", argument="relax_steps", type=int)
@QHA.option("--allow-unconverged", argument="allow_unconverged", is_flag=True)
@QHA.option("--symprec", argument="symprec", type=float)
@QHA.option(
    "--imaginary-tolerance", "imaginary_tolerance_thz", argument="imaginary_tolerance_thz", type=float
)
@QHA.option("--born", argument="born", type=click.Path())
@click.option("--resume", is_flag=True, default=False, help=QHA.help("resume"))
@click.option("--plot/--no-plot", default=True, show_default=True, help=QHA.help("plot"))
@click.option("--allow-truncated", is_flag=True, help="Drop an incomplete last frame of an (ext)xyz file.")
def qha(struct: str, common: Common, resume: bool, plot: bool, allow_truncated: bool, **given: Any) -> None:
    """Thermal expansion of STRUCT (any ASE file, FILE@INDEX) by phonons at several volumes.

    Volume, bulk modulus, heat capacity at constant pressure and free energy against temperature, and
    Grüneisen parameters. Exit code 3 when the volume at 0 K is not among those computed (the files are
    written), or when too few volumes are free of imaginary modes.
    """
    from ..io.structures import pick_structure
    from ..workflows.phonon.qha import qha as run_qha
    from ..workflows.phonon.qha_result import OUTPUTS

    settings = QhaSettings(**given)
    picked = pick_structure(struct, allow_truncated=allow_truncated)
    atoms = picked.atoms
    run = LatticeRun(common, "qha", picked, settings, outputs=OUTPUTS, resume=resume)
    if common.dry_run:
        run.check()
        _dry_run(struct, atoms, common, settings)
        return
    with run:
        calculator = run.begin()
        files: dict[str, Any] = {"out": common.out, "prefix": common.prefix, "plot": plot}
        result = run_qha(
            atoms, calc=calculator, **settings.to_dict(), **files, resume=resume, quiet=common.quiet
        )
        run.record(result, OUTPUTS, _lines(result))
        result.require_trusted()


def _lines(result: QhaResult) -> list[str]:
    """What one must know of the expansion."""
    from ..workflows.phonon.nac import NO_LO_TO

    at = result.to_dict()["at_300_k"]
    return [
        f"at {at['temperature_k']:g} K: volume {at['volume_a3']:.4f} Å³, expansion "
        f"{1e6 * at['thermal_expansion_1_per_k']:.3g} 1e-6/K, bulk modulus {at['bulk_modulus_gpa']:.4g} GPa, "
        f"heat capacity {at['heat_capacity_p_j_per_k_per_mol']:.4g} J/K/mol",
        f"Grüneisen parameter {at['gruneisen']:.3g}, of the modes {result.modes.mean:.3g} on average",
        f"volumes, energies and heat capacities are of {result.per}",
        *([f"note: {NO_LO_TO}"] if result.non_analytical == NO_LO_TO else []),
    ]


def _dry_run(struct: str, atoms: Atoms, common: Common, settings: QhaSettings) -> None:
    """Say which supercells and how many calculations it would be."""
    from ..workflows.phonon.cell import check_lattice, right_handed
    from ..workflows.phonon.nac import non_analytical
    from ..workflows.phonon.qha import EVERYWHERE, WHAT, displaced_at
    from ..workflows.phonon.qha_result import OUTPUTS
    from ..workflows.statics.crystal import at_volumes, check_crystal

    check_crystal(atoms, WHAT)
    check_lattice(atoms)
    phonons = displaced_at(at_volumes(right_handed(atoms), settings.scales), settings)
    facts = {
        "structure": f"{atoms.get_chemical_formula()} from {struct}",
        "model": model_record(common.calculator(atoms)),
        **settings.to_dict(),
        "volumes_a3": [round(float(v), 4) for v in settings.scales * atoms.get_volume()],
        "supercell": phonons[0].supercell_matrix.tolist(),
        "supercell_atoms": len(phonons[0].supercell),
        "non_analytical_term": non_analytical(phonons[0], EVERYWHERE, settings.born),
        "force_calculations": sum(len(phonon.supercells_with_displacements) for phonon in phonons),
        "writes": ", ".join(OUTPUTS),
    }
    dry_run_report(common, "qha", facts)
