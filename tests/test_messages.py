"""One voice: errors and warnings are sentences, hints lower-case imperatives (read from the syntax trees)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from jmp_calc import errors

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "jmp_calc").rglob("*.py"), *(ROOT / "training").rglob("*.py")])
KINDS = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, (errors.JMPError, errors.JMPWarning))
}
CODE_WORD = re.compile(r"[^a-z]|[a-z]*[A-Z0-9_./=\[('-]")
"""A first word that is no plain lower-case word: a capital, a name of the code, an option, a quote."""


def texts(node: ast.expr) -> Iterator[str]:
    """The texts that an expression may give, a placeholder as ``{}``; none for what is made elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        first, last = list(texts(node.left)) or ["{}"], list(texts(node.right)) or ["{}"]
        yield from (start + end for start in first for end in last)


def assigned(scope: ast.AST) -> dict[str, list[ast.expr]]:
    """What is assigned to each name inside a function or module."""
    values: dict[str, list[ast.expr]] = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    values.setdefault(target.id, []).append(node.value)
    return values


def calls(tree: ast.Module) -> Iterator[tuple[ast.Call, dict[str, list[ast.expr]]]]:
    """Every message that is made, with what the names of its innermost function stand for."""
    owner: dict[ast.AST, ast.AST] = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            owner |= dict.fromkeys(ast.walk(node), node)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in KINDS:
                yield node, assigned(owner[node]) if node in owner else {}


def messages() -> Iterator[tuple[str, str, str]]:
    """Place, text and kind ("fact" or "hint") of every message that is written out where it is raised."""
    for path in SOURCES:
        for call, names in calls(ast.parse(path.read_text(encoding="utf-8"))):
            place = f"{path.relative_to(ROOT)}:{call.lineno}"
            hints = [keyword.value for keyword in call.keywords if keyword.arg == "hint"]
            for kind, values in (("fact", call.args[:1]), ("hint", hints)):
                for value in values:
                    meant = names.get(value.id, []) if isinstance(value, ast.Name) else [value]
                    yield from ((place, text, kind) for item in meant for text in texts(item) if text)


def is_sentence(text: str) -> bool:
    return bool(CODE_WORD.match(text)) and text.endswith((".", "?", "{}"))


def is_imperative(text: str) -> bool:
    return not re.match(r"[A-Z][a-z]+ ", text) and (not text.endswith(".") or text.endswith("..."))


def test_messages_are_found() -> None:
    found = list(messages())
    assert {"fact", "hint"} == {kind for _, _, kind in found} and len(found) > 500
    for right in ("The file is empty.", "--prefix is a name.", "{} atoms.", "fmax=0 is no limit."):
        assert is_sentence(right)
    assert not is_sentence("the file is empty.") and not is_sentence("The file is empty")
    assert is_imperative("check the path") and not is_imperative("Check the path.")


@pytest.mark.parametrize(("kind", "right"), [("fact", is_sentence), ("hint", is_imperative)])
def test_every_message_has_the_same_form(kind: str, right) -> None:
    assert [f"{place} {text!r}" for place, text, of in messages() if of == kind and not right(text)] == []
