"""``jmp-calc phonons``: phonopy with a JMP model; writes phonopy's own files, figures and summary.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click

from ..workflows.phonon.settings import FrequencyUnit, PhononSettings
from .arguments import Arguments
from .command_run import model_record
from .dry_run import dry_run_report
from .lattice_run import LatticeRun
from .options import Common, common_options, structure_argument

if TYPE_CHECKING:
    from ase import Atoms

    from ..workflows.phonon.result import PhononResult

EPILOG = """\b
Examples:
  jmp-calc phonons jmp_results/relax/opt.extxyz --supercell "2 2 2" -o si_phonons
  jmp-calc phonons POSCAR --min-length 12 --mesh "20 20 20" --tmax 600
  jmp-calc phonons POSCAR --bands "G X, K G L" --strict

Relax the cell first (jmp-calc relax --opt-cell full --fmax 1e-3): only positions are relaxed here."""

PHONONS = Arguments("workflows.phonon.phonons", "phonons", PhononSettings)


@click.command(epilog=EPILOG)
@structure_argument
@common_options(out="./jmp_results/phonons", dtype="float64")
@PHONONS.option("--supercell", "--dim", "supercell", argument="supercell")
@PHONONS.option("--min-length", argument="min_length", type=float)
@PHONONS.option("--displacement", "--amplitude", "displacement", argument="displacement", type=float)
@PHONONS.option("--random-displacements", argument="random_displacements", metavar="N|auto", type=str)
@PHONONS.option("--mesh", argument="mesh")
@PHONONS.option("--bands", argument="bands")
@PHONONS.option("--band-points", "--n-qpoints", "band_points", argument="band_points", type=int)
@PHONONS.option("--tmin", "--temp-min", "tmin", argument="tmin", type=float)
@PHONONS.option("--tmax", "--temp-max", "tmax", argument="tmax", type=float)
@PHONONS.option("--tstep", "--temp-step", "tstep", argument="tstep", type=float)
@PHONONS.option("--relax/--no-relax", argument="relax")
@PHONONS.option("--fmax", argument="fmax", type=float)
@PHONONS.option("--relax-steps", argument="relax_steps", type=int)
@PHONONS.option("--allow-unconverged", argument="allow_unconverged", is_flag=True)
@PHONONS.option("--fc-symmetry/--no-fc-symmetry", argument="fc_symmetry")
@PHONONS.option("--symprec", argument="symprec", type=float)
@PHONONS.option(
    "--imaginary-tolerance", "imaginary_tolerance_thz", argument="imaginary_tolerance_thz", type=float
)
@PHONONS.option("--born", argument="born", type=click.Path())
@PHONONS.option("--pdos", argument="pdos", is_flag=True)
@PHONONS.option("--thermal-displacements", argument="thermal_displacements", is_flag=True)
@PHONONS.option(
    "--group-velocities", "--group-velocity", "group_velocities", argument="group_velocities", is_flag=True
)
@PHONONS.option("--eigenvectors", argument="eigenvectors", is_flag=True)
@PHONONS.option("--follow-imaginary", argument="follow_imaginary", is_flag=True)
@PHONONS.option("--check-hessian", argument="check_hessian", is_flag=True)
@PHONONS.option("--frequency-unit", argument="frequency_unit", type=click.Choice(get_args(FrequencyUnit)))
@click.option("--strict", is_flag=True, help="Exit with 3 when there are imaginary modes.")
@click.option("--resume", is_flag=True, default=False, help=PHONONS.help("resume"))
@click.option("--plot/--no-plot", default=True, show_default=True, help=PHONONS.help("plot"))
@click.option("--allow-truncated", is_flag=True, help="Drop an incomplete last frame of an (ext)xyz file.")
def phonons(
    struct: str,
    common: Common,
    strict: bool,
    resume: bool,
    plot: bool,
    allow_truncated: bool,
    **settings: Any,
) -> None:
    """Phonon bands, density of states and thermal properties of STRUCT (any ASE file, FILE@INDEX).

    Imaginary modes are named; they end the command with exit code 3 only with --strict. Crystals, layers and
    wires are told apart by their periodic directions and their vacuum. Without --born, polar crystals show
    no LO-TO splitting at Γ.
    """
    from ..io.structures import pick_structure
    from ..workflows.phonon.phonons import phonons as run_phonons
    from ..workflows.phonon.result import OUTPUTS, outputs

    checked = PhononSettings(**settings, seed=common.seed)
    picked = pick_structure(struct, allow_truncated=allow_truncated)
    atoms = picked.atoms
    run = LatticeRun(common, "phonons", picked, checked, outputs=OUTPUTS, resume=resume)
    if common.dry_run:
        run.check()
        _dry_run(struct, atoms, common, checked)
        return
    with run:
        atoms.calc = run.begin()
        files: dict[str, Any] = {"out": common.out, "prefix": common.prefix, "plot": plot}
        result = run_phonons(atoms, **checked.to_dict(), **files, resume=resume, quiet=common.quiet)
        run.record(result, outputs(checked), _lines(result))
        if strict:
            result.require_stable()


def _lines(result: PhononResult) -> list[str]:
    """What one must know of the phonons."""
    from ..workflows.phonon.nac import NO_LO_TO
    from ..workflows.phonon.result import describe

    lines = [
        f"lowest frequency {result.lowest_thz:z.3f} THz; path by {result.band_path}",
        f"thermal properties per mole of {result.thermal_per}",
    ]
    if result.non_analytical == NO_LO_TO:
        lines.append(f"note: {NO_LO_TO}")
    if result.missed_share is not None:
        missed = f"{100 * result.missed_share:.2g} % of their forces are not harmonic"
        lines.append(f"{result.n_displacements} random displacements; {missed}")
    lines += [f"imaginary: {describe(mode)}" for mode in result.imaginary]
    if result.hessian is not None:
        lines.append(str(result.hessian))
    if result.followed is not None:
        lines.append(str(result.followed))
    elif result.settings.follow_imaginary:
        lines.append("no imaginary mode fits the supercell, so none was followed")
    return lines


def _dry_run(struct: str, atoms: Atoms, common: Common, settings: PhononSettings) -> None:
    """Say which supercell and how many calculations it would be."""
    from ..workflows.phonon.nac import non_analytical
    from ..workflows.phonon.phonons import displacements
    from ..workflows.phonon.result import outputs

    phonon, _, periodic = displacements(atoms, settings)
    facts = {
        "structure": f"{atoms.get_chemical_formula()} from {struct}",
        "model": model_record(common.calculator(atoms)),
        **settings.to_dict(),
        "periodic": periodic.tolist(),
        "supercell": phonon.supercell_matrix.tolist(),
        "supercell_atoms": len(phonon.supercell),
        "force_calculations": len(phonon.supercells_with_displacements),
        "non_analytical_term": non_analytical(phonon, periodic, settings.born),
        "writes": ", ".join(outputs(settings)),
    }
    dry_run_report(common, "phonons", facts)
