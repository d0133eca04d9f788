"""``jmp-calc phonons``: phonopy with a JMP model; writes phonopy's own files, figures and summary.yaml."""

from __future__ import annotations

import click

from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import Common, common_options, structure_argument

EPILOG = """\b
Examples:
  jmp-calc phonons jmp_results/relax/opt.extxyz --supercell "2 2 2" -o si_phonons
  jmp-calc phonons POSCAR --min-length 12 --mesh "20 20 20" --tmax 600
  jmp-calc phonons POSCAR --bands "G X, K G L" --strict

Relax the cell first (jmp-calc relax --opt-cell full --fmax 1e-3): only positions are relaxed here."""


@click.command(epilog=EPILOG)
@structure_argument
@common_options(out="./jmp_results/phonons", dtype="float64")
@click.option(
    "--supercell",
    "--dim",
    "supercell",
    default="auto",
    show_default=True,
    help='"auto", "2 2 2" or nine numbers.',
)
@click.option(
    "--min-length",
    type=float,
    default=20.0,
    show_default=True,
    help="With --supercell auto: distance between an atom and its image, Å.",
)
@click.option(
    "--displacement", "--amplitude", "displacement", type=float, default=0.01, show_default=True, help="Å."
)
@click.option("--mesh", default="auto", show_default=True, help='"auto" or "20 20 20"; always contains Γ.')
@click.option("--bands", default="auto", show_default=True, help='"auto" or labels: "G X, K G L".')
@click.option(
    "--band-points",
    "--n-qpoints",
    "band_points",
    type=int,
    default=51,
    show_default=True,
    help="Points on the longest piece of the path.",
)
@click.option("--tmin", "--temp-min", "tmin", type=float, default=0.0, show_default=True, help="K.")
@click.option("--tmax", "--temp-max", "tmax", type=float, default=1000.0, show_default=True, help="K.")
@click.option("--tstep", "--temp-step", "tstep", type=float, default=10.0, show_default=True, help="K.")
@click.option("--relax/--no-relax", default=True, help="Relax positions first (default).")
@click.option(
    "--fmax", type=float, default=1e-4, show_default=True, help="Force limit before displacing, eV/Å."
)
@click.option(
    "--relax-steps", type=int, default=500, show_default=True, help="Most steps of the pre-relaxation."
)
@click.option("--allow-unconverged", is_flag=True, help="Go on when the force limit was not reached.")
@click.option(
    "--fc-symmetry/--no-fc-symmetry", default=True, help="Symmetrise the force constants (default)."
)
@click.option("--strict", is_flag=True, help="Exit with 3 when there are imaginary modes.")
@click.option(
    "--plot/--no-plot", default=True, help="Figures of bands, DOS and thermal properties (default)."
)
@click.option("--allow-truncated", is_flag=True, help="Drop an incomplete last frame of an (ext)xyz file.")
def phonons(
    struct: str,
    common: Common,
    supercell: str,
    min_length: float,
    displacement: float,
    mesh: str,
    bands: str,
    band_points: int,
    tmin: float,
    tmax: float,
    tstep: float,
    relax: bool,
    fmax: float,
    relax_steps: int,
    allow_unconverged: bool,
    fc_symmetry: bool,
    strict: bool,
    plot: bool,
    allow_truncated: bool,
) -> None:
    """Phonon bands, density of states and thermal properties of STRUCT (any ASE file, FILE@INDEX).

    Imaginary modes are named; they end the command with exit code 3 only with --strict.
    """
    from ..io.structures import parse_structure, read_structure
    from ..workflows.phonon_settings import PhononSettings, supercell_matrix
    from ..workflows.phonons import OUTPUTS, check_lattice, describe
    from ..workflows.phonons import phonons as run_phonons

    settings = PhononSettings(
        supercell,
        min_length,
        displacement,
        mesh,
        bands,
        band_points,
        tmin,
        tmax,
        tstep,
        relax,
        fmax,
        relax_steps,
        allow_unconverged,
        fc_symmetry,
    )
    atoms = read_structure(struct, allow_truncated=allow_truncated)
    inputs = [parse_structure(struct).path]
    run = CommandRun(common, "phonons", outputs=OUTPUTS, settings=settings.to_dict(), inputs=inputs)
    if common.dry_run:
        from numpy import linalg

        from ..workflows.phonopy_glue import displaced

        run.check()
        check_lattice(atoms)
        matrix = supercell_matrix(settings, atoms.cell.array, atoms.pbc)
        n_displacements = len(displaced(atoms, matrix, settings).supercells_with_displacements)
        dry_run_report(
            common,
            "phonons",
            {
                "structure": f"{atoms.get_chemical_formula()} from {struct}",
                "model": model_record(common.calculator()),
                **settings.to_dict(),
                "supercell": matrix.tolist(),
                "supercell_atoms": round(float(abs(linalg.det(matrix)))) * len(atoms),
                "force_calculations": n_displacements,
                "writes": ", ".join(OUTPUTS),
            },
        )
        return
    with run:
        run.add_structure(struct, atoms)
        atoms.calc = common.calculator()
        run.model = model_record(atoms.calc)
        result = run_phonons(
            atoms,
            supercell=supercell,
            min_length=min_length,
            displacement=displacement,
            mesh=mesh,
            bands=bands,
            band_points=band_points,
            tmin=tmin,
            tmax=tmax,
            tstep=tstep,
            relax=relax,
            fmax=fmax,
            relax_steps=relax_steps,
            allow_unconverged=allow_unconverged,
            fc_symmetry=fc_symmetry,
            quiet=common.quiet,
        )
        run.results = result.to_dict()
        for path in result.write(common.out, prefix=common.prefix, plot=plot):
            run.add_output(path, path.stem.replace("_", " "))
        common.say(
            f"lowest frequency {result.lowest_thz:.3f} THz; path by {result.band_path}; wrote {common.out}"
        )
        for mode in result.imaginary:
            common.say(f"imaginary: {describe(mode)}")
        if strict:
            result.require_stable()
