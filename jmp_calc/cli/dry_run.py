"""What a command prints with --dry-run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from .options import NOWHERE, Common


@dataclass(frozen=True)
class Section:
    """A part of what a dry run says: plain data for --json, lines to read."""

    record: Mapping[str, Any]
    lines: Sequence[str]


def dry_run_report(
    common: Common, command: str, facts: Mapping[str, Any], sections: Mapping[str, Section] | None = None
) -> None:
    """Print what a run would do, ``facts`` first, then section by section; as JSON with --json."""
    record = {
        "command": command,
        **({"model": common.model} if common.model else {}),
        **({} if common.out == NOWHERE else {"out": str(common.out)}),
        **facts,
    }
    sections = sections or {}
    if common.json:
        from ..io.summary import finite, plain

        record |= {name: section.record for name, section in sections.items()}
        click.echo(json.dumps(finite(plain(record)), indent=1))
        return
    click.echo("dry run: nothing is computed or written")
    for key, value in record.items():
        click.echo(f"  {key}: {_told(value)}")
    for name, section in sections.items():
        click.echo(f"{name}")
        for line in section.lines:
            click.echo(f"  {line}")


def _told(value: Any) -> Any:
    """A record in one line, without what it does not say."""
    if not isinstance(value, Mapping):
        return value
    return ", ".join(f"{name} {each}" for name, each in value.items() if each is not None)
