"""Blocks of code in the Markdown pages, as a reader meets them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"
PAGES: Final = sorted(DOCS.rglob("*.md"))
FENCE: Final = re.compile(r"^( *)(```+)([^\n`]*)\n(.*?)^\1\2$", re.M | re.S)
RUN_BY_SHELL, RUN_BY_PYTHON = {"bash"}, {"python", "{code-cell}"}
"""Languages of blocks that tutorials mean to be run; ``sh`` sets a machine up, or needs what is not there."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page in their order; options of directives (``:name: value``) are left out."""
    for match in FENCE.finditer(page.read_text(encoding="utf-8")):
        words = match[3].split()
        lines = [line.removeprefix(match[1]) for line in match[4].splitlines()]
        while lines and (re.match(r":[\w-]+:", lines[0]) or not lines[0].strip()):
            del lines[0]
        yield Block(words[0] if words else "", "\n".join(lines) + "\n")


def commands(page: Path) -> Iterator[list[str]]:
    """The words behind every ``jmp-calc`` at the start of a line in a block of a page."""
    for block in blocks(page):
        for line in block.text.replace("\\\n", " ").splitlines():
            start = re.match(r"\s*(?:srun )?jmp-calc (?=\w)", line)
            if start:
                yield shlex.split(line[start.end() :], comments=True)
