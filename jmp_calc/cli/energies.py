"""``jmp-calc energies``: of formation, atomisation, adsorption and surfaces; parts.extxyz, summary.yaml."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from ..workflows.statics.sum_settings import PartsRelax, SumSettings
from .arguments import Arguments
from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import Common, common_options, structure_argument

if TYPE_CHECKING:
    from ase import Atoms

    from ..io.structures import PickedFrame
    from ..workflows.statics.sums import EnergySum, Part

F = TypeVar("F", bound=Callable[..., Any])
MODULE = "workflows.statics.energies"
FORMATION = Arguments(MODULE, "formation_energy", SumSettings)
ADSORPTION = Arguments(MODULE, "adsorption_energy", SumSettings)
SURFACE = Arguments(MODULE, "surface_energy", SumSettings)

EPILOG = """\b
Examples:
  jmp-calc energies formation MoW.cif --reference Mo.cif --reference W.cif --head pbe
  jmp-calc energies atomisation ethanol.xyz --relax positions
  jmp-calc energies adsorption CO_Pt111.traj --slab Pt111.traj --adsorbate CO.xyz -m jmp-l --head oc20
  jmp-calc energies surface Cu111.cif --bulk Cu.cif

All parts are computed with one head of one model: name it with --head where molecules and crystals meet."""


@click.group(epilog=EPILOG)
def energies() -> None:
    """Energies of formation, atomisation, adsorption and of surfaces, their references checked."""


def _options(out: str, texts: Arguments, choices: Sequence[str]) -> Callable[[F], F]:
    """The options that all four have."""
    options = [
        common_options(out=out, dtype="float64"),
        texts.option("--relax", argument="relax", type=click.Choice(choices)),
        texts.option("--fmax", argument="fmax", type=float),
        texts.option("--relax-steps", argument="relax_steps", type=int),
        texts.option("--allow-unconverged", argument="allow_unconverged", is_flag=True),
        click.option(
            "--allow-truncated", is_flag=True, help="Drop an incomplete last frame of an (ext)xyz file."
        ),
    ]

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@energies.command()
@structure_argument
@click.option(
    "--reference", "references", multiple=True, required=True, help="A structure from which STRUCT forms."
)
@_options("./jmp_results/formation", FORMATION, get_args(PartsRelax))
def formation(
    struct: str, references: tuple[str, ...], common: Common, allow_truncated: bool, **given: Any
) -> None:
    """Energy of STRUCT above its references: its elements in their phases, or any compounds of them."""
    from ..workflows.statics import energies as of
    from ..workflows.statics.parts import formation_parts

    specs = {"structure": struct, **{f"reference {i}": spec for i, spec in enumerate(references)}}
    _run(
        common,
        "formation",
        _read(specs, allow_truncated),
        SumSettings(**given),
        plan=lambda found: formation_parts(found[0], found[1:]),
        compute=lambda found, how: of.formation_energy(found[0], found[1:], **how),
    )


@energies.command()
@structure_argument
@_options("./jmp_results/atomisation", FORMATION, get_args(PartsRelax))
def atomisation(struct: str, common: Common, allow_truncated: bool, **given: Any) -> None:
    """Energy that takes STRUCT apart into lone atoms: of crystals the cohesive energy."""
    from ..workflows.statics import energies as of
    from ..workflows.statics.parts import atomisation_parts

    _run(
        common,
        "atomisation",
        _read({"structure": struct}, allow_truncated),
        SumSettings(**given),
        plan=lambda found: atomisation_parts(found[0]),
        compute=lambda found, how: of.atomisation_energy(found[0], **how),
    )


@energies.command()
@structure_argument
@click.option("--slab", required=True, help="The bare surface, in the same cell.")
@click.option("--adsorbate", required=True, help="The molecule in the gas.")
@_options("./jmp_results/adsorption", ADSORPTION, ("none", "positions"))
def adsorption(
    struct: str, slab: str, adsorbate: str, common: Common, allow_truncated: bool, **given: Any
) -> None:
    """Energy of the molecules on the surface in STRUCT, relative to surface and molecules apart."""
    from ..workflows.statics import energies as of
    from ..workflows.statics.parts import adsorption_parts

    specs = {"adsorbed": struct, "slab": slab, "adsorbate": adsorbate}
    _run(
        common,
        "adsorption",
        _read(specs, allow_truncated),
        SumSettings(**given),
        plan=lambda found: adsorption_parts(*found),
        compute=lambda found, how: of.adsorption_energy(*found, **how),
    )


@energies.command()
@structure_argument
@click.option("--bulk", required=True, help="The crystal, with the lattice that the slab was cut from.")
@_options("./jmp_results/surface", SURFACE, ("none", "positions"))
def surface(struct: str, bulk: str, common: Common, allow_truncated: bool, **given: Any) -> None:
    """Energy that the surfaces of the slab STRUCT cost, per area."""
    from ..workflows.statics import energies as of
    from ..workflows.statics.parts import check_surface, surface_parts

    settings = SumSettings(**given)

    def plan(found: Sequence[Atoms]) -> list[Part]:
        slab, crystal = found
        return surface_parts(slab, crystal, check_surface(slab, crystal, relaxed=settings.relax != "none"))

    _run(
        common,
        "surface",
        _read({"slab": struct, "bulk": bulk}, allow_truncated),
        settings,
        plan=plan,
        compute=lambda found, how: of.surface_energy(*found, **how),
    )


def _read(specs: Mapping[str, str], allow_truncated: bool) -> dict[str, PickedFrame]:
    """The structures by their part in the sum."""
    from ..io.structures import pick_structure

    return {name: pick_structure(spec, allow_truncated=allow_truncated) for name, spec in specs.items()}


def _run(
    common: Common,
    kind: str,
    picked: Mapping[str, PickedFrame],
    settings: SumSettings,
    *,
    plan: Callable[[list[Atoms]], list[Part]],
    compute: Callable[[list[Atoms], dict[str, Any]], EnergySum],
) -> None:
    """Compute, record and say one sum, or say what it would be."""
    from ..workflows.statics.sums import OUTPUTS

    structures = [frame.atoms for frame in picked.values()]
    paths: list[Path] = [frame.path for frame in picked.values()]
    name = f"energies {kind}"
    run = CommandRun(common, name, outputs=OUTPUTS, settings=settings.to_dict(), inputs=paths)
    if common.dry_run:
        run.check()
        parts, calculator = plan(structures), common.calculator(structures[0])
        for part in parts:
            calculator.decide_head(part.atoms)
        facts = {
            "model": model_record(calculator),
            **settings.to_dict(),
            "terms": [f"{p.coefficient:+.6g} {p.atoms.get_chemical_formula()} ({p.name})" for p in parts],
            "writes": ", ".join(OUTPUTS),
        }
        dry_run_report(common, name, facts)
        return
    with run:
        for frame in picked.values():
            run.add_structure(frame)
        calculator = common.calculator(structures[0])
        run.model = model_record(calculator)
        found = compute(structures, {"calc": calculator, **settings.to_dict(), "quiet": common.quiet})
        run.results = found.to_dict()
        for path in found.write(common.out, prefix=common.prefix):
            run.add_output(path, "structures of the sum with their energies")
        for term in found.terms:
            formula = term.atoms.get_chemical_formula()
            common.say(f"{term.coefficient:+9.6g} x {term.energy_ev:14.6f} eV  {formula} ({term.name})")
        quoted = ", ".join(
            f"{name} {value}" if isinstance(value, bool) else f"{name} {value:.6g}"
            for name, value in found.numbers.items()
        )
        common.say(f"{found.kind} {found.energy_ev:.6f} eV; {quoted}")
        common.say(f"wrote {common.out}")
