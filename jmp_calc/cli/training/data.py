"""``jmp-calc data``: the public data sets: where they are, fetching them, and turning them into extended
XYZ."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from ...errors import UsageError

EPILOG = """\b
Examples:
  jmp-calc data list
  jmp-calc data fetch rmd17 -o ~/data/rmd17
  jmp-calc data fetch md22 md22_DHA.npz -o ~/data/md22
  jmp-calc data export rmd17 aspirin --data ~/data/rmd17 --part train -o aspirin-train.extxyz

Other files (extxyz, traj, db, aselmdb, npz) need none of this: jmp-calc finetune FILE."""


@click.group(epilog=EPILOG)
def data() -> None:
    """Public data sets: list, fetch, export as extended XYZ."""


@data.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def list_data(as_json: bool) -> None:
    """Data sets with readers: members, splits, publisher's page, licence, files, sizes and checksums."""
    from ...training.datasets.catalogue import UNKNOWN, load_catalogue
    from ...training.datasets.registry import FAMILIES

    rows = []
    for name, entry in load_catalogue().items():
        row = dataclasses.asdict(entry)
        row |= {"members": list(FAMILIES[name].members), "splits": list(FAMILIES[name].splits)}
        rows.append(row)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        click.echo(f"{row['name']}: {row['title']}")
        click.echo(f"  members  {', '.join(row['members'])}")
        if row["splits"]:
            click.echo(f"  splits   {', '.join(row['splits'])}")
        click.echo(f"  page     {row['page']}\n  licence  {row['licence']}")
        for file in row["files"]:
            size = f"{file['size']} bytes" if file["size"] else file["about"] or f"size {UNKNOWN}"
            checksum = next(
                (f"{kind} {file[kind]}" for kind in ("sha256", "md5") if file[kind]), f"checksum {UNKNOWN}"
            )
            click.echo(
                f"  file     {file['name']}  {size}  {checksum}  {file['url'] or 'address: see the page'}"
            )


@data.command()
@click.argument("name")
@click.argument("files", nargs=-1)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=None, help="Folder.  [default: data/NAME]"
)
@click.option("--unpack/--no-unpack", default=True, help="Unpack archives into the folder.")
def fetch(name: str, files: tuple[str, ...], out: Path | None, unpack: bool) -> None:
    """Download FILES (default: all) of the data set NAME; goes on where an interrupted download stopped."""
    from ...training.datasets import catalogue
    from ...training.datasets.base import choose

    known = catalogue.load_catalogue()
    publication = known[choose(name, tuple(known), "data set")]
    folder = out or Path("data") / publication.name
    click.echo(f"{publication.title}; licence: {publication.licence} ({publication.page})", err=True)
    catalogue.fetch(publication, folder, files, unpack=unpack, say=click.echo)


@data.command()
@click.argument("name")
@click.argument("member")
@click.option(
    "--data", "folder", required=True, type=click.Path(path_type=Path), help="Folder with the files."
)
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="Extended XYZ file to write."
)
@click.option(
    "--part", type=click.Choice(["all", "train", "valid", "test"]), default="all", show_default=True
)
@click.option("--split", default=None, help="Name of a split.  [default: that of the JMP paper]")
@click.option("--frames", type=click.IntRange(min=1), default=None, help="A random subset of this size.")
@click.option(
    "--on-bad",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="What to do with bad frames.",
)
@click.option(
    "--min-atoms",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Leave out smaller frames (4 in the pre-training of JMP).",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def export(
    name: str,
    member: str,
    folder: Path,
    out: Path,
    part: str,
    split: str | None,
    frames: int | None,
    on_bad: str,
    min_atoms: int,
    overwrite: bool,
) -> None:
    """Write MEMBER (molecule, task, part) of the data set NAME as extended XYZ in eV and Å."""
    from ...training.datasets.export import export as write

    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists.", hint="choose another file, or --overwrite")
    count, left_out = write(
        name, member, folder, out, part=part, split=split, frames=frames, on_bad=on_bad, min_atoms=min_atoms
    )  # type: ignore[arg-type]
    if left_out:
        click.echo(f"warning: {left_out}", err=True)
    click.echo(f"{out}  {count} frames")
