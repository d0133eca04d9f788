"""The units of labelled files: the same options for every command that reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ...training.data.label_units import LabelUnits

NAMES = ("energy_unit", "length_unit", "forces_unit", "stress_unit", "stress_sign")


def unit_options(function: Any) -> Any:
    """Adds them to a command, in this order; ``stress_sign`` is None where it is not given."""
    options = [
        click.option(
            "--energy-unit", help="Unit of energies that are not in eV, in all files: hartree, kcal/mol, ..."
        ),
        click.option("--length-unit", help="Unit of lengths that are not in Å, in all files: bohr, nm."),
        click.option(
            "--forces-unit",
            help="Unit of forces: hartree/bohr, kcal/mol/angstrom, ...  [default: energies per length]",
        ),
        click.option(
            "--stress-unit", help="Unit of stresses: GPa, kbar, ...  [default: energies per cubed length]"
        ),
        click.option(
            "--stress-sign",
            type=click.Choice(["tension", "pressure"]),
            default=None,
            help="What is positive: tension as in ASE, or pressure as VASP prints it.  [default: tension]",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def label_units(options: dict[str, Any]) -> LabelUnits:
    """The units that were given; UsageError for an unknown one."""
    from ...training.data.label_units import LabelUnits

    return LabelUnits(
        energy=options["energy_unit"],
        length=options["length_unit"],
        forces=options["forces_unit"],
        stress=options["stress_unit"],
        stress_sign=options["stress_sign"] or "tension",
    )
