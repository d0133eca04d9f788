"""Dependency arrows point down: cli → workflows → calculator → zoo → model → graph (read from the syntax trees)."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "jmp_calc").rglob("*.py"), *(ROOT / "training").rglob("*.py")])


def module_name(path: Path) -> str:
    """Installed name of a source file: training/x.py is jmp_calc.training.x."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("jmp_calc", *parts) if parts[0] == "training" else parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything a file imports, at any depth; also import_module("...")."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            yield node.lineno, prefix
            yield from ((node.lineno, f"{prefix}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "import_module":
            yield from ((node.lineno, str(arg.value)) for arg in node.args if isinstance(arg, ast.Constant))


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


# (files under this package, may not import any of these)
FORBIDDEN = [
    ("jmp_calc.graph", ["ase", "click", "h5py", "phonopy", "safetensors", "yaml", "jmp_calc.zoo", "jmp_calc.io"]),
    ("jmp_calc.graph", ["jmp_calc.calculator", "jmp_calc.workflows", "jmp_calc.training"]),
    ("jmp_calc.model", ["ase", "click", "h5py", "phonopy", "safetensors", "yaml", "jmp_calc.zoo", "jmp_calc.io"]),
    ("jmp_calc.model", ["jmp_calc.calculator", "jmp_calc.workflows", "jmp_calc.training"]),
    ("jmp_calc.zoo", ["click", "phonopy", "jmp_calc.calculator", "jmp_calc.workflows", "jmp_calc.training"]),
    ("jmp_calc.calculator", ["click", "phonopy", "jmp_calc.workflows", "jmp_calc.training"]),
    ("jmp_calc.inference.evaluator", ["click", "phonopy", "jmp_calc.calculator", "jmp_calc.workflows", "jmp_calc.training"]),
    ("jmp_calc.inference.batching", ["click", "phonopy", "jmp_calc.calculator", "jmp_calc.workflows", "jmp_calc.training"]),
    ("jmp_calc.inference.descriptors", ["click", "phonopy", "jmp_calc.calculator", "jmp_calc.workflows", "jmp_calc.training"]),
    ("jmp_calc.torchsim", ["click", "phonopy", "jmp_calc.calculator", "jmp_calc.workflows", "jmp_calc.training"]),
    ("jmp_calc.inference.predict", ["click", "phonopy", "jmp_calc.calculator", "jmp_calc.workflows", "jmp_calc.training"]),
    ("jmp_calc.inference.estimate", ["click", "phonopy", "jmp_calc.calculator", "jmp_calc.workflows", "jmp_calc.training"]),
    ("jmp_calc.checks", ["click", "phonopy", "jmp_calc.workflows", "jmp_calc.training"]),
    ("jmp_calc.workflows", ["click", "jmp_calc.model", "jmp_calc.graph", "jmp_calc.training"]),
    ("jmp_calc.io", ["click", "jmp_calc.training"]),
    ("jmp_calc.training", ["click"]),
]


@pytest.mark.parametrize("package, forbidden", FORBIDDEN, ids=lambda value: value if isinstance(value, str) else "")
def test_layer_imports_nothing_from_above(package: str, forbidden: list[str]) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in SOURCES
        if is_within(module_name(path), package)
        for line, name in imports(path)
        if any(is_within(name, other) for other in forbidden)
    ]
    assert not found


def test_only_the_cli_imports_the_cli() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        if not is_within(module_name(path), "jmp_calc.cli")
        for line, name in imports(path)
        if is_within(name, "jmp_calc.cli")
    ]
    assert not found


def test_only_the_cli_and_the_lazy_names_refer_to_training() -> None:
    """Also as text: a string handed to an importer is a reference too."""
    allowed = {"jmp_calc/__init__.py"}
    found = []
    for path in SOURCES:
        name = path.relative_to(ROOT).as_posix()
        if name in allowed or name.startswith(("training/", "jmp_calc/cli/")):
            continue
        strings = [
            str(node.value)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        referred = [imported for _, imported in imports(path)] + strings
        found += [name for text in referred if is_within(text.replace(":", "."), "jmp_calc.training")]
    assert not found


def test_training_names_its_own_modules_relatively() -> None:
    """So that the folder type-checks as `training` and installs as `jmp_calc.training`."""
    found = []
    for path in sorted((ROOT / "training").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            bad = [name for name in names if is_within(name, "jmp_calc.training") or is_within(name, "training")]
            found += [f"{path.relative_to(ROOT)}:{node.lineno} {name}" for name in bad]
            if isinstance(node, ast.ImportFrom) and node.level:
                depth = len(path.relative_to(ROOT).parts) - 1
                found += [f"{path.relative_to(ROOT)}:{node.lineno} leaves training/"] if node.level > depth else []
    assert not found


def test_every_package_is_installed() -> None:
    """pyproject lists the packages one by one; a forgotten one would be missing from the wheel only."""
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    present = {module_name(path) for path in SOURCES if path.name == "__init__.py"}
    holding_code = {module_name(path.parent / "__init__.py") for path in SOURCES}
    assert listed == present == holding_code
