"""``jmp-calc conductivity``: thermal conductivity of a crystal; writes tables, figures and summary.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click

from ..workflows.phonon.conductivity_settings import ConductivityMethod, ConductivitySettings
from .arguments import Arguments
from .command_run import model_record
from .dry_run import dry_run_report
from .lattice_run import LatticeRun
from .options import Common, common_options, structure_argument

if TYPE_CHECKING:
    from ase import Atoms

    from ..workflows.phonon.conductivity_result import ConductivityResult

EPILOG = """\b
Examples:
  jmp-calc conductivity jmp_results/relax/opt.extxyz --supercell "2 2 2" -o si_kappa
  jmp-calc conductivity POSCAR --pair-cutoff 5 --mesh "15 15 15" --isotopes
  jmp-calc conductivity POSCAR -o si_kappa --resume --mesh "25 25 25"

Relax the cell first (jmp-calc relax --opt-cell full --fmax 1e-3): only positions are relaxed here."""

KAPPA = Arguments("workflows.phonon.conductivity", "conductivity", ConductivitySettings)


@click.command(epilog=EPILOG)
@structure_argument
@common_options(out="./jmp_results/conductivity", dtype="float64")
@KAPPA.option("--supercell", "--dim", "supercell", argument="supercell")
@KAPPA.option("--min-length", argument="min_length", type=float)
@KAPPA.option("--fc2-supercell", "--dim-fc2", "fc2_supercell", argument="fc2_supercell")
@KAPPA.option("--fc2-min-length", argument="fc2_min_length", type=float)
@KAPPA.option("--displacement", "--amplitude", "displacement", argument="displacement", type=float)
@KAPPA.option("--pair-cutoff", argument="pair_cutoff", type=float)
@KAPPA.option("--mesh", argument="mesh")
@KAPPA.option("--method", argument="method", type=click.Choice(get_args(ConductivityMethod)))
@KAPPA.option("--isotopes", argument="isotopes", is_flag=True)
@KAPPA.option("--boundary", "boundary_um", argument="boundary_um", type=float)
@KAPPA.option("--tmin", "--temp-min", "tmin", argument="tmin", type=float)
@KAPPA.option("--tmax", "--temp-max", "tmax", argument="tmax", type=float)
@KAPPA.option("--tstep", "--temp-step", "tstep", argument="tstep", type=float)
@KAPPA.option("--relax/--no-relax", argument="relax")
@KAPPA.option("--fmax", argument="fmax", type=float)
@KAPPA.option("--relax-steps", argument="relax_steps", type=int)
@KAPPA.option("--allow-unconverged", argument="allow_unconverged", is_flag=True)
@KAPPA.option("--fc-symmetry/--no-fc-symmetry", argument="fc_symmetry")
@KAPPA.option("--symprec", argument="symprec", type=float)
@KAPPA.option(
    "--imaginary-tolerance", "imaginary_tolerance_thz", argument="imaginary_tolerance_thz", type=float
)
@KAPPA.option("--born", argument="born", type=click.Path())
@click.option("--resume", is_flag=True, default=False, help=KAPPA.help("resume"))
@click.option("--plot/--no-plot", default=True, show_default=True, help=KAPPA.help("plot"))
@click.option("--allow-truncated", is_flag=True, help="Drop an incomplete last frame of an (ext)xyz file.")
def conductivity(
    struct: str, common: Common, resume: bool, plot: bool, allow_truncated: bool, **given: Any
) -> None:
    """Thermal conductivity of STRUCT (any ASE file, FILE@INDEX) by its phonons, with phono3py.

    Third-order force constants from displaced pairs of atoms, lifetimes of all modes on a mesh, conductivity
    against temperature. Needs the extra: pip install 'jmp-calc[conductivity]'. Exit code 3 with imaginary
    modes.
    """
    from ..io.structures import pick_structure
    from ..workflows.phonon.conductivity import conductivity as run_conductivity
    from ..workflows.phonon.conductivity import require_phono3py
    from ..workflows.phonon.conductivity_result import OUTPUTS

    settings = ConductivitySettings(**given)
    require_phono3py()
    picked = pick_structure(struct, allow_truncated=allow_truncated)
    atoms = picked.atoms
    run = LatticeRun(common, "conductivity", picked, settings, outputs=OUTPUTS, resume=resume)
    if common.dry_run:
        run.check()
        _dry_run(struct, atoms, common, settings)
        return
    with run:
        calculator = run.begin()
        files: dict[str, Any] = {"out": common.out, "prefix": common.prefix, "plot": plot}
        result = run_conductivity(
            atoms, calc=calculator, **settings.to_dict(), **files, resume=resume, quiet=common.quiet
        )
        run.record(result, OUTPUTS, _lines(result))


def _lines(result: ConductivityResult) -> list[str]:
    """What one must know of the conductivity."""
    from ..workflows.phonon.nac import NO_LO_TO

    found = result.to_dict()
    parts = found["kappa_w_per_m_k"]
    directions = ", ".join(f"{name} {parts[name]:.4g}" for name in ("xx", "yy", "zz"))
    lines = [
        f"thermal conductivity at {found['temperature_k']:g} K: {found['mean_w_per_m_k']:.4g} W/m/K "
        f"({directions}), {found['method']} on a mesh of {'×'.join(map(str, found['mesh']))}",
        f"modes below {found['half_is_carried_below_thz']:.3g} THz carry half of it",
    ]
    return lines + ([f"note: {NO_LO_TO}"] if result.non_analytical == NO_LO_TO else [])


def _dry_run(struct: str, atoms: Atoms, common: Common, settings: ConductivitySettings) -> None:
    """Say which supercells and how many calculations it would be."""
    from ..workflows.phonon.cell import right_handed
    from ..workflows.phonon.conductivity import cells_of, check_structure, displaced
    from ..workflows.phonon.conductivity_result import OUTPUTS

    check_structure(atoms)
    atoms = right_handed(atoms)
    phono3py = displaced(atoms, settings)
    third, second = cells_of(phono3py, atoms)
    facts = {
        "structure": f"{atoms.get_chemical_formula()} from {struct}",
        "model": model_record(common.calculator(atoms)),
        **settings.to_dict(),
        "supercell": phono3py.supercell_matrix.tolist(),
        "supercell_atoms": len(phono3py.supercell),
        "fc2_supercell_atoms": len(phono3py.phonon_supercell),
        "force_calculations": len(third) + len(second),
        "writes": ", ".join(OUTPUTS),
    }
    dry_run_report(common, "conductivity", facts)
