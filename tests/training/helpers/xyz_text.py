"""Frames of XYZ files as text, for labels that no writer would write."""

from __future__ import annotations

from pathlib import Path


def text(comment: str, rows: str = "H 0 0 0\nH 0 0 0.8\n", count: int = 2) -> str:
    """One frame, by default of two hydrogen atoms."""
    return f"{count}\n{comment}\n{rows}"


FORCES = "Properties=species:S:1:pos:R:3:forces:R:3"
ROWS = "H 0 0 0 0 0 0.1\nH 0 0 0.8 0 0 -0.1\n"
CUBE = 'Lattice="4 0 0 0 4 0 0 0 4" pbc="T T T"'


def write_text(path: Path, content: str) -> Path:
    """The path, with the content."""
    path.write_text(content, encoding="utf-8")
    return path
