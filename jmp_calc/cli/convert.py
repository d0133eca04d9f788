"""``jmp-calc convert``: an official .pt checkpoint becomes one of our .safetensors files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

EPILOG = """\b
Examples:
  jmp-calc convert jmp-l.pt
  jmp-calc convert jmp-s.pt --weights raw -o jmp-s-raw.safetensors"""


@click.command(epilog=EPILOG)
@click.argument("checkpoint")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="File to write (default: name of the checkpoint with .safetensors, in this folder).",
)
@click.option(
    "--weights",
    type=click.Choice(["ema", "raw", "official-ft"]),
    default="ema",
    show_default=True,
    help="Which of the checkpoint's weight sets.",
)
@click.option("--overwrite/--no-overwrite", default=False, help="Replace an existing file (default: refuse).")
@click.option("--dry-run", is_flag=True, help="Check the checkpoint, write nothing.")
def convert(checkpoint: str, out: Path | None, weights: str, overwrite: bool, dry_run: bool) -> None:
    """Convert the official CHECKPOINT (path, or a name such as jmp-l) without executing anything from it.

    Only the chosen weight set is written; optimizer state and step counters are left out.
    """
    from ..errors import ModelError
    from ..io.outdir import check_file_free
    from ..zoo.container import save_model
    from ..zoo.names import locate, resolve

    found = locate(checkpoint, may_fetch=not dry_run)
    if not found.official:
        raise ModelError(
            "This is no official checkpoint.", where=str(found.path), hint="it needs no conversion"
        )
    target = out or Path(f"{found.path.stem}.safetensors")
    if target.is_dir():
        target = target / f"{found.path.stem}.safetensors"
    check_file_free(target, overwrite)
    loaded = resolve(checkpoint, weights=weights)
    count = sum(tensor.numel() for tensor in loaded.potential.parameters())
    if dry_run:
        click.echo(f"dry run: would write {target} ({count} parameters, {4 * count / 1e6:.1f} MB)")
        return
    notes = (*loaded.card.notes, f"converted from a file with sha256 {loaded.sha256}")
    save_model(target, loaded.potential, dataclasses.replace(loaded.card, notes=notes))
    click.echo(f"{target}  {target.stat().st_size / 1e6:.1f} MB  {count} parameters  weights {weights}")
