"""``jmp-calc export``: a model compiled ahead of time, for calculators that start in a second."""

from __future__ import annotations

import time
from pathlib import Path

import click

EPILOG = """\b
Examples:
  jmp-calc export jmp-xs --head pbe
  jmp-calc md POSCAR -m jmp-xs --head pbe --compiled jmp-xs-pbe.pt2"""


@click.command(epilog=EPILOG)
@click.argument("model")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="File to write (default: MODEL-HEAD.pt2 in this folder).",
)
@click.option(
    "--to",
    type=click.Choice(["aoti"]),
    default="aoti",
    show_default=True,
    expose_value=False,
    help="Kind of file: torch's AOTInductor.",
)
@click.option("--head", default=None, help="Head of the model (default: the one the file names).")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64"]),
    default="float32",
    show_default=True,
    help="Precision of the network.",
)
@click.option("--overwrite/--no-overwrite", default=False, help="Replace an existing file (default: refuse).")
def export(model: str, out: Path | None, head: str | None, dtype: str, overwrite: bool) -> None:
    """Compile MODEL for small structures on the CPU of this machine; takes two minutes and a C++ compiler.

    The file serves one head in one precision, with this version of torch and jmp-calc. It holds machine code
    that
    runs where it is used: use only files that you trust.
    """
    from ..calculator import JMPCalculator
    from ..inference.export import export_program
    from ..io.outdir import check_file_free

    calculator = JMPCalculator(model, head=head, device="cpu", dtype=dtype)
    name = calculator.evaluator.head.name
    target = out or Path(f"{calculator.info.name}-{name}.pt2")
    check_file_free(target, overwrite)
    click.echo(f"compiling {calculator.info.name}, head {name}, {dtype} (minutes)", err=True)
    started = time.perf_counter()
    difference = export_program(calculator, target)
    click.echo(
        f"{target}  {target.stat().st_size / 1e6:.1f} MB  {time.perf_counter() - started:.0f} s  "
        f"largest difference to the network {difference:.1e}"
    )
