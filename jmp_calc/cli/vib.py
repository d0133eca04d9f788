"""``jmp-calc vib``: vibrations and thermochemistry; writes tables, modes, a figure and summary.yaml."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, get_args

import click

from ..workflows.vibrations.settings import Method, ThermoModel, VibSettings
from .arguments import Arguments
from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import Common, common_options, structure_argument

if TYPE_CHECKING:
    from ase import Atoms

    from ..workflows.vibrations.result import VibResult

EPILOG = """\b
Examples:
  jmp-calc vib ethanol.xyz
  jmp-calc vib water.xyz --temperatures "298.15 500 1000" --pressure-pa 101325
  jmp-calc vib slab_with_co.extxyz --indices "36 37" --thermo harmonic
  jmp-calc vib ethanol.xyz --dipole-model dipoles/best.safetensors      # infrared intensities
  jmp-calc vib saddle.extxyz --no-relax --fmax 0.05"""

VIB = Arguments("workflows.vibrations.vib", "vib", VibSettings)


@click.command(epilog=EPILOG)
@structure_argument
@common_options(out="./jmp_results/vib", dtype="float64")
@click.option(
    "--dipole-model", default=None, metavar="MODEL", help="Model file with a head for dipoles (e Å)."
)
@click.option("--dipole-head", default=None, help="Its head; the default head of that file if none is given.")
@VIB.option("--method", argument="method", type=click.Choice(get_args(Method)))
@VIB.option("--displacement", argument="displacement", type=float)
@VIB.option("--indices", argument="indices")
@VIB.option("--relax/--no-relax", argument="relax")
@VIB.option("--fmax", argument="fmax", type=float)
@VIB.option("--relax-steps", argument="relax_steps", type=int)
@VIB.option("--allow-unconverged", argument="allow_unconverged", is_flag=True)
@VIB.option("--thermo", argument="thermo", type=click.Choice(get_args(ThermoModel)))
@VIB.option("--temperatures", "--temp", "temperatures", argument="temperatures")
@VIB.option("--pressure-pa", argument="pressure_pa", type=float)
@VIB.option("--symmetry-number", argument="symmetry_number", type=int)
@VIB.option("--spin", argument="spin", type=float)
@VIB.option("--tolerance", "tolerance_cm1", argument="tolerance_cm1", type=float)
@VIB.option("--animate", argument="animate", type=int)
@click.option("--strict", is_flag=True, help="Exit with 3 when there are imaginary modes.")
@click.option("--plot/--no-plot", default=True, show_default=True, help=VIB.help("plot"))
@click.option("--allow-truncated", is_flag=True, help="Drop an incomplete last frame of an (ext)xyz file.")
def vib(
    struct: str,
    common: Common,
    dipole_model: str | None,
    dipole_head: str | None,
    strict: bool,
    plot: bool,
    allow_truncated: bool,
    **settings: Any,
) -> None:
    """Vibrations and thermochemistry of STRUCT (any ASE file, FILE@INDEX).

    Translations and rotations are told apart from the modes. Imaginary modes are named; they end the command
    with exit code 3 only with --strict.
    """
    from ..io.structures import pick_structure
    from ..workflows.vibrations.result import OUTPUTS
    from ..workflows.vibrations.vib import vib as run_vib

    checked = VibSettings(**settings)
    picked = pick_structure(struct, allow_truncated=allow_truncated)
    run = CommandRun(
        common,
        "vib",
        outputs=OUTPUTS,
        settings={**checked.to_dict(), "dipole_model": dipole_model, "dipole_head": dipole_head},
        inputs=[picked.path],
        redoes=True,
    )
    dipoles = None if dipole_model is None else _dipoles(dipole_model, dipole_head, common)
    if common.dry_run:
        run.check()
        _dry_run(struct, picked.atoms, common, checked)
        return
    with run:
        run.add_structure(picked)
        calculator = common.calculator(picked.atoms)
        run.model = model_record(calculator)
        result = run_vib(
            picked.atoms, calc=calculator, dipoles=dipoles, **checked.to_dict(), quiet=common.quiet
        )
        run.write_result(result, _lines(result), plot=plot)
        if strict:
            result.require_stable()


def _dipoles(model: str, head: str | None, common: Common) -> Callable[[Sequence[Atoms]], Any]:
    """Dipoles (n, 3) of n structures by a head of a model."""
    from ..inference.predict import predict_vectors

    return functools.partial(
        predict_vectors,
        model=model,
        head=head,
        device=common.device,
        dtype="float64",
        elements=common.elements,
    )


def _lines(result: VibResult) -> list[str]:
    """What one must know of the vibrations."""
    lines = [f"{result.atoms.get_chemical_formula()}: {result.words}"]
    free = [*result.modes.translations_cm1, *result.modes.rotations_cm1]
    if free:
        apart = (
            f"{len(result.modes.translations_cm1)} translations, {len(result.modes.rotations_cm1)} rotations"
        )
        lines.append(f"apart from {apart} (within {max(map(abs, free)):.1f} cm-1 of 0)")
    lines += [f"imaginary: {value:.1f} cm-1" for value in result.imaginary_cm1]
    light = result.infrared_km_per_mol
    if light is not None and len(light):
        strongest = int(light.argmax())
        lines.append(
            f"strongest infrared band {result.frequencies_cm1[strongest]:.1f} cm-1, "
            f"{light[strongest]:.1f} km/mol"
        )
    lines.append(f"zero-point energy {result.zero_point_ev:.4f} eV")
    for one in result.thermo:
        symmetry = "" if result.symmetry_number is None else f", symmetry number {result.symmetry_number}"
        what = f"ideal gas{symmetry}, G" if one.model == "ideal-gas" else "harmonic modes, F"
        lines.append(f"{one.temperature_k:g} K: {what} - E = {one.correction_ev:.4f} eV")
    asymmetry = f"largest asymmetry {result.hessian.asymmetry:.1e} eV/Å²"
    lines.append(
        f"Hessian by {'automatic' if result.method == 'autograd' else 'finite'} differentiation, {asymmetry}"
    )
    return lines


def _dry_run(struct: str, atoms: Atoms, common: Common, settings: VibSettings) -> None:
    """Say which atoms vibrate and what it takes."""
    from ..workflows.vibrations.hessian import way_of
    from ..workflows.vibrations.result import OUTPUTS
    from ..workflows.vibrations.vib import vibrating

    atoms.calc = common.calculator(atoms)
    chosen, way = vibrating(atoms, settings), way_of(atoms, settings)
    facts = {
        "structure": f"{atoms.get_chemical_formula()} from {struct}",
        "model": model_record(atoms.calc),
        **settings.to_dict(),
        "method": way,
        "vibrating_atoms": len(chosen),
        "force_calculations": 6 * len(chosen) if way == "finite" else 0,
        "writes": ", ".join(OUTPUTS),
    }
    dry_run_report(common, "vib", facts)
