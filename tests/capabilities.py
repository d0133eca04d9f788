"""docs/capabilities.md from tests/capabilities.toml and the markers of the tests.

python -m tests.capabilities            # write the page
python -m tests.capabilities --check    # say whether it is up to date
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "capabilities.md"


@dataclass(frozen=True)
class Row:
    """One line of the page."""

    name: str
    group: str
    """Title of its table."""
    aim: str
    what: str
    missing: str
    """Why no test proves it; empty: a test does."""


@cache
def rows() -> tuple[Row, ...]:
    """All rows in the order of the file."""
    content = tomllib.loads((TESTS / "capabilities.toml").read_text(encoding="utf-8"))
    return tuple(
        Row(name, group["title"], row["aim"], row["what"], row.get("missing", ""))
        for group in content.values()
        for name, row in group["rows"].items()
    )


@cache
def proofs() -> dict[str, tuple[str, ...]]:
    """Tests (``file::name``) by the rows that their markers name."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for name, test in _marked(path):
            found.setdefault(name, []).append(f"{path.relative_to(TESTS.parent).as_posix()}::{test}")
    return {name: tuple(tests) for name, tests in found.items()}


def _marked(path: Path) -> Iterator[tuple[str, str]]:
    """Row and function of every ``@pytest.mark.capability("A1", ...)`` in a file."""
    text = path.read_text(encoding="utf-8")
    if "mark.capability" not in text:
        return
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.capability":
                yield from ((ast.literal_eval(argument), node.name) for argument in decorator.args)


def page() -> str:
    """The page as it must be."""
    missing = [row for row in rows() if row.missing]
    count = len(rows()) - len(missing)
    lines = [
        "# What there is, and the test of it",
        "",
        "Made by `python -m tests.capabilities` from markers of tests and `tests/capabilities.toml`; do",
        "not edit. M: what every good package has; L: where this one means to lead; S: what should be there.",
        f"Of {len(rows())} rows {count} are proved by tests that run; {len(missing)} are missing, with the",
        "reason.",
    ]
    for title in dict.fromkeys(row.group for row in rows()):
        lines += ["", f"## {title}", "", "| | | Capability | Proved by |", "|---|---|---|---|"]
        for row in (row for row in rows() if row.group == title):
            tests = "<br>".join(f"`{test}`" for test in proofs().get(row.name, ()))
            lines.append(f"| {row.name} | {row.aim} | {row.what} | {tests or f'*missing*: {row.missing}'} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page, or compare it."""
    wanted = page()
    if "--check" in sys.argv:
        same = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == wanted
        print("up to date" if same else "out of date: python -m tests.capabilities")
        return 0 if same else 1
    PAGE.write_text(wanted, encoding="utf-8")
    print(f"wrote {PAGE.relative_to(TESTS.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
