"""What docstrings of array functions say: the shapes of what they take and give."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.test_layering import ROOT, SOURCES

FILES = [
    path for path in SOURCES if path.parent in (ROOT / "jmp_calc" / "model", ROOT / "jmp_calc" / "graph")
]
ARRAY = re.compile(r"\b(Tensor|ndarray|NDArray|Floats|Ints|Matrix|Scaled)\b")
SHAPE = re.compile(r"\([^()]*(\([^()]*\))?[^()]*,[^()]*\)|\(\)|any shape")
"""Letters or numbers in parentheses with a comma, as (E, 3) or (N,); () of a number."""


def array_functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Functions and methods, not those inside others, that take or return arrays, and every ``forward``."""
    bodies: list[list[ast.stmt]] = [tree.body]
    for body in bodies:
        for node in body:
            if isinstance(node, ast.ClassDef):
                bodies.append(node.body)
            if isinstance(node, ast.FunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg]
                notes = [a.annotation for a in arguments if a is not None] + [node.returns]
                if node.name == "forward" or any(ARRAY.search(ast.unparse(n)) for n in notes if n):
                    yield node


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_array_functions_name_their_shapes(path) -> None:  # type: ignore[no-untyped-def]
    bare = [
        f"{node.name} (line {node.lineno})"
        for node in array_functions(ast.parse(path.read_text(encoding="utf-8")))
        if not SHAPE.search(ast.get_docstring(node) or "")
    ]
    assert not bare


def test_the_letters_of_shapes_are_explained_once() -> None:
    text = ast.get_docstring(
        ast.parse((ROOT / "jmp_calc" / "graph" / "batch.py").read_text(encoding="utf-8"))
    )
    assert text is not None
    explained = re.findall(r"^    ([A-Z](?:, [A-Z])*) ", text, re.MULTILINE)
    assert set(", ".join(explained).split(", ")) >= set("NESDLCKRBMAQT")
