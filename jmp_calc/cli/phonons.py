"""``jmp-calc phonons``: phonopy with a JMP model; writes phonopy's own files, figures and summary.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..workflows.phonon.settings import PhononSettings
from .arguments import Arguments
from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import Common, common_options, structure_argument

if TYPE_CHECKING:
    from ase import Atoms

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
@click.option("--strict", is_flag=True, help="Exit with 3 when there are imaginary modes.")
@click.option("--plot/--no-plot", default=True, show_default=True, help=PHONONS.help("plot"))
@click.option("--allow-truncated", is_flag=True, help="Drop an incomplete last frame of an (ext)xyz file.")
def phonons(
    struct: str, common: Common, strict: bool, plot: bool, allow_truncated: bool, **settings: Any
) -> None:
    """Phonon bands, density of states and thermal properties of STRUCT (any ASE file, FILE@INDEX).

    Imaginary modes are named; they end the command with exit code 3 only with --strict. Crystals, layers and
    wires are told apart by their periodic directions and their vacuum. The non-analytical term is absent:
    polar crystals show no LO-TO splitting at Γ.
    """
    from ..io.structures import pick_structure
    from ..workflows.phonon.phonons import phonons as run_phonons
    from ..workflows.phonon.result import NO_LO_TO, OUTPUTS, describe

    checked = PhononSettings(**settings)
    picked = pick_structure(struct, allow_truncated=allow_truncated)
    atoms, inputs = picked.atoms, [picked.path]
    run = CommandRun(common, "phonons", outputs=OUTPUTS, settings=checked.to_dict(), inputs=inputs)
    if common.dry_run:
        run.check()
        _dry_run(struct, atoms, common, checked)
        return
    with run:
        run.add_structure(struct, atoms)
        if picked.message is not None:
            common.say(picked.message)
        atoms.calc = common.calculator(atoms)
        run.model = model_record(atoms.calc)
        result = run_phonons(atoms, **checked.to_dict(), quiet=common.quiet)
        run.results = result.to_dict()
        for path in result.write(common.out, prefix=common.prefix, plot=plot):
            run.add_output(path, path.stem.replace("_", " "))
        common.say(f"lowest frequency {result.lowest_thz:z.3f} THz; path by {result.band_path}")
        common.say(f"thermal properties per mole of {result.thermal_per}; wrote {common.out}")
        if len(set(atoms.numbers)) > 1:
            common.say(f"note: {NO_LO_TO}")
        for mode in result.imaginary:
            common.say(f"imaginary: {describe(mode)}")
        if strict:
            result.require_stable()


def _dry_run(struct: str, atoms: Atoms, common: Common, settings: PhononSettings) -> None:
    """Say which supercell and how many calculations it would be."""
    from ..workflows.phonon.phonons import displacements
    from ..workflows.phonon.result import OUTPUTS

    phonon, _, periodic = displacements(atoms, settings)
    facts = {
        "structure": f"{atoms.get_chemical_formula()} from {struct}",
        "model": model_record(common.calculator(atoms)),
        **settings.to_dict(),
        "periodic": periodic.tolist(),
        "supercell": phonon.supercell_matrix.tolist(),
        "supercell_atoms": len(phonon.supercell),
        "force_calculations": len(phonon.supercells_with_displacements),
        "writes": ", ".join(OUTPUTS),
    }
    dry_run_report(common, "phonons", facts)
