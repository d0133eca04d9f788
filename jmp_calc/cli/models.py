"""``jmp-calc models``: list, inspect, fetch, add, verify, locate and remove models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

EPILOG = """\b
Examples:
  jmp-calc models list
  jmp-calc models info jmp-l
  jmp-calc models card run/best.safetensors -o model_card.md
  jmp-calc models add jmp-l ~/Downloads/jmp-l.pt
  jmp-calc models verify run/best.safetensors

Environment: JMP_CALC_HOME (folder of fetched models), JMP_CALC_OFFLINE=1 (never fetch)."""

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@click.group(epilog=EPILOG)
def models() -> None:
    """List, inspect, describe, fetch, add, verify and remove models."""


@models.command("list")
@_json_option
def list_models(as_json: bool) -> None:
    """All models that have a name, and whether they are on this machine."""
    from ..zoo import cache
    from ..zoo.registry import load_registry

    rows: list[dict[str, Any]] = []
    for name, entry in load_registry().items():
        path = cache.cached_path(name, entry)
        where = "bundled" if entry.bundled else "on this machine"
        rows.append(
            {
                "name": name,
                "status": where if path.is_file() else "not on this machine",
                "licence": entry.licence,
                "size_bytes": path.stat().st_size if path.is_file() else entry.size,
                "summary": entry.summary,
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        size = "" if row["size_bytes"] is None else f"{row['size_bytes'] / 1e6:.1f} MB"
        click.echo(
            f"{row['name']:<{width}} {row['status']:<20} {size:>10}  {row['licence']:<13} {row['summary']}"
        )


@models.command()
@click.argument("model")
@click.option("--full", is_flag=True, help="Everything: references, network, training data, metrics.")
@_json_option
def info(model: str, full: bool, as_json: bool) -> None:
    """Heads, levels of theory, elements, energy zero, graphs and licence of MODEL.

    MODEL is a name, one of our .safetensors files, or an official .pt checkpoint. Nothing is fetched.
    """
    from ..zoo import cache
    from ..zoo.describe import describe, describe_entry
    from ..zoo.names import locate
    from ..zoo.registry import load_registry

    entry = load_registry().get(model)
    absent = entry is not None and cache.checked(model, entry) is None
    if entry is not None and absent:
        described = describe_entry(model, entry)
    else:
        described = describe(locate(model, may_fetch=False))
    if as_json:
        click.echo(json.dumps(described, indent=1))
    elif full or absent:
        _print(described)
    else:
        _print_short(described)
        click.echo(f"more: jmp-calc models info {model} --full")


@models.command()
@click.argument("model")
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@click.option("--overwrite/--no-overwrite", default=False, help="Replace an existing file (default: refuse).")
def card(model: str, out: Path | None, overwrite: bool) -> None:
    """Model card of MODEL in Markdown, from the header of its file.

    Heads, errors, training data, licences, limits and what to cite, as model hubs show it. What the file does
    not say is not in it. Without --out it is printed.
    """
    from ..io.outdir import check_file_free
    from ..io.summary import write_text_atomic
    from ..zoo.describe import describe
    from ..zoo.model_card import model_card
    from ..zoo.names import locate

    text = model_card(describe(locate(model, may_fetch=False)), model)
    if out is None:
        click.echo(text, nl=False)
        return
    check_file_free(out, overwrite)
    write_text_atomic(out, text)
    click.echo(f"model card of {model}: {out}")


def _print(data: dict[str, Any]) -> None:
    import yaml

    filled = {key: value for key, value in data.items() if value not in (None, [], {}, "")}
    click.echo(yaml.safe_dump(filled, sort_keys=False, allow_unicode=True, width=110).rstrip())


def _print_short(data: dict[str, Any]) -> None:
    """The rows of ``calc.info``, and one for each head."""
    graphs = data["graphs"]
    zeros = [head["reference"] for head in data["heads"] if "reference" in head]
    rows = [
        ("model", f"{data['name']}, {data['size_bytes'] / 1e6:.1f} MB, {data['format']}"),
        ("file", data["file"]),
        ("sha256", data["sha256"]),
        ("licence", data["licence"]),
        ("energy zero", "; ".join(dict.fromkeys(zeros)) or "no energies"),
        ("graphs", f"{graphs['policy']}, cutoff {graphs['cutoff_angstrom']:g} Å"),
        ("head", _default(data)),
    ]
    for head in data["heads"]:
        rows.append((f"  {head['name']}", _head_row(head)))
        rows += [("", f"  {found['summary']}") for found in head.get("errors", ())]
    old = [f"{name} is now {present}" for name, present in data["head_aliases"].items()]
    rows += [("old names", ", ".join(old))] if old else []
    for label, text in rows:
        click.echo(f"{label:<12} {text}")
    for note in data["notes"]:
        click.echo(f"note: {note}")


def _default(data: dict[str, Any]) -> str:
    """Which head computes where none is named."""
    by_kind = data["default_heads"]
    if by_kind is None:
        return data["default_head"] or "no default"
    return f"{by_kind['molecules']} for molecules, {by_kind['periodic']} for periodic structures"


def _head_row(head: dict[str, Any]) -> str:
    """Level of theory without its details, what the head gives if no energy, domain, elements and pairs."""
    gives = "" if head["kind"] == "energy" else f"{head['kind']} ({head['unit']}), "
    level = head["level_of_theory"].partition(" (")[0]
    domain = "" if head["domain"] == "unknown" else f", {head['domain']}"
    pairs = (
        "" if head["pairs"] == "unknown" else f" ({head['pairs']} pair{'' if head['pairs'] == 1 else 's'})"
    )
    return f"{gives}{level}{domain}: {head['elements']}{pairs}"


@models.command()
@click.argument("names", nargs=-1, required=True)
def fetch(names: tuple[str, ...]) -> None:
    """Download the models NAMES into the cache; goes on where an interrupted download stopped."""
    from ..zoo.names import fetch_by_name, named

    for name in names:
        named(name)
    for name in names:
        file = fetch_by_name(name)
        click.echo(f"{name}  {file.path}  sha256 {file.sha256}")


@models.command()
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path))
def add(name: str, path: Path) -> None:
    """Register the file PATH, fetched by other means, as the model NAME (linked or copied into the cache)."""
    from ..zoo import cache
    from ..zoo.describe import describe_file
    from ..zoo.names import locate, named

    entry = named(name)
    found = locate(path.absolute())
    describe_file(found.path, official=found.official)  # refuses what could not be loaded later
    file = cache.add(name, entry, found.path)
    if not file.published:
        click.echo(f"warning: this is not known to be the published file of {name}", err=True)
    click.echo(f"{name}  {file.path}  sha256 {file.sha256}")


@models.command()
@click.argument("names", nargs=-1)
def verify(names: tuple[str, ...]) -> None:
    """Check models completely: checksums, every tensor, every number. Without NAMES: all on this machine.

    The checksums are those of the publisher or of the first download, and the one that a file of jmp-calc
    records of its content.
    """
    from ..zoo import cache
    from ..zoo.describe import OFFICIAL_CONTENT, content_words
    from ..zoo.names import locate, resolve
    from ..zoo.registry import load_registry

    registry = load_registry()
    chosen = names or tuple(n for n, entry in registry.items() if cache.cached_path(n, entry).is_file())
    if not chosen:
        click.echo("no model is on this machine")
    for name in chosen:
        if name in registry:
            cache.checked(name, registry[name], rehash=True)
        loaded = resolve(locate(name, may_fetch=False).path)
        official = loaded.format_version is None
        content = OFFICIAL_CONTENT if official else content_words(loaded.content_sha256)
        click.echo(f"{name}  ok  {loaded.path}  sha256 {loaded.sha256}  content: {content}")


@models.command("path")
@click.argument("name")
def show_path(name: str) -> None:
    """Print where the file of the model NAME is."""
    from ..zoo.names import locate

    click.echo(str(locate(name, may_fetch=False).path))


@models.command()
@click.argument("name")
@click.option("--forget", is_flag=True, help="Also forget the checksum of the first download.")
def remove(name: str, forget: bool) -> None:
    """Delete the fetched file of the model NAME."""
    from ..zoo import cache
    from ..zoo.names import named

    entry = named(name)
    click.echo(f"{name} {'removed' if cache.remove(name, entry) else 'was not on this machine'}")
    if forget:
        cache.forget_hash(entry)
