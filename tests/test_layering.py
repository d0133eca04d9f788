"""Arrows between rooms point down, and nothing imports itself in a circle (read from the syntax trees)."""

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
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", getattr(node.func, "attr", "")) == "import_module"
        ):
            yield from ((node.lineno, str(arg.value)) for arg in node.args if isinstance(arg, ast.Constant))


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


FLOORS: tuple[frozenset[str], ...] = tuple(
    frozenset(rooms.split())
    for rooms in (
        "errors lattice units version samples",
        "arguments",
        "unread hessian",
        "checks graph machine",
        "model io",
        "zoo analysis bonding",
        "inference",
        "calculator trust",
        "dispersion",
        "workflows",
        "engines",
        "sampling labelling torchsim",
        "screening",
        "training/data training/distributed",
        "training/audit training/datasets training/config training/combined",
        "training/records training/batches",
        "training/targets training/loss",
        "training/optim training/validation",
        "training/run training/evaluate training/compiled",
        "training/finetuning training/pretraining training/loop",
        "training/finetune training/pretrain training/planning",
        "training/__init__",
        "cli __init__",
        "__main__",
    )
)
"""Rooms from the ground up, those that are planned among them; an arrow leads to a lower floor or stays in
its room."""


def room(module: str) -> str:
    """The room of a module: its folder, or itself where it lies at the door."""
    parts = SOURCE[module].relative_to(ROOT).with_suffix("").parts
    if parts[0] == "training":
        return f"training/{parts[1]}"
    return parts[1]


SOURCE = {module_name(path): path for path in SOURCES}


def arrows() -> dict[str, set[str]]:
    """Modules of ours that each module imports: at its top, late in a function, or for its types only."""
    result: dict[str, set[str]] = {}
    for module, path in SOURCE.items():
        names = {name for _, name in imports(path)}
        # `from package import module` also names the package, whose __init__ is no neighbour then.
        inner = {name for name in names if name in SOURCE}
        packages = {name for name in inner if any(other.startswith(name + ".") for other in inner)}
        result[module] = inner - packages - {module}
    return result


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other (strongly connected components of more than one node)."""
    reach: dict[str, set[str]] = {}
    for node in graph:
        seen: set[str] = set()
        queue = [node]
        while queue:
            new = graph.get(queue.pop(), set()) - seen
            seen |= new
            queue += new
        reach[node] = seen
    groups = {frozenset(b for b in reach[a] if a in reach[b]) for a in graph if a in reach[a]}
    return sorted(sorted(group) for group in groups)


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(arrows()) == []


def test_no_rooms_import_each_other_in_a_circle() -> None:
    rooms: dict[str, set[str]] = {}
    for module, others in arrows().items():
        rooms.setdefault(room(module), set()).update({room(other) for other in others} - {room(module)})
    assert circles(rooms) == []


def test_every_room_has_a_floor() -> None:
    assert {room(module) for module in SOURCE} <= frozenset().union(*FLOORS)


def test_arrows_lead_to_lower_floors() -> None:
    floor = {name: number for number, rooms in enumerate(FLOORS) for name in rooms}
    up = [
        f"{module} imports {other}"
        for module, others in arrows().items()
        for other in others
        if room(other) != room(module) and floor[room(other)] >= floor[room(module)]
    ]
    assert not up


FORBIDDEN = [
    (
        "jmp_calc.graph",
        "ase click h5py phonopy safetensors yaml jmp_calc.model jmp_calc.inference jmp_calc.machine",
    ),
    (
        "jmp_calc.model",
        "ase click h5py phonopy safetensors yaml jmp_calc.inference jmp_calc.machine jmp_calc.io",
    ),
    ("jmp_calc.zoo", "click phonopy jmp_calc.inference"),
    ("jmp_calc.inference", "click phonopy"),
    ("jmp_calc.calculator", "click phonopy"),
    ("jmp_calc.engines", "click phonopy"),
    ("jmp_calc.checks", "click phonopy"),
    (
        "jmp_calc.workflows",
        "click jmp_calc.model jmp_calc.graph jmp_calc.zoo jmp_calc.inference jmp_calc.calculator",
    ),
    ("jmp_calc.io", "click"),
    ("jmp_calc.training", "click"),
]
"""Beyond the floors: packages that the files of a room may not import."""


@pytest.mark.parametrize("package, forbidden", FORBIDDEN)
def test_a_room_imports_nothing_that_is_foreign_to_it(package: str, forbidden: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in SOURCES
        if is_within(module_name(path), package)
        for line, name in imports(path)
        if any(is_within(name, other) for other in forbidden.split())
    ]
    assert not found


def test_only_the_cli_imports_the_cli() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        if not is_within(module_name(path), "jmp_calc.cli") and path.name != "__main__.py"
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
            bad = [
                name for name in names if is_within(name, "jmp_calc.training") or is_within(name, "training")
            ]
            found += [f"{path.relative_to(ROOT)}:{node.lineno} {name}" for name in bad]
            if isinstance(node, ast.ImportFrom) and node.level:
                depth = len(path.relative_to(ROOT).parts) - 1
                found += (
                    [f"{path.relative_to(ROOT)}:{node.lineno} leaves training/"] if node.level > depth else []
                )
    assert not found


def test_jmp_calc_names_its_own_modules_relatively() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "jmp_calc").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.ImportFrom) and not node.level and is_within(node.module or "", "jmp_calc"))
        or (isinstance(node, ast.Import) and any(is_within(alias.name, "jmp_calc") for alias in node.names))
    ]
    assert not found


def test_every_package_is_installed() -> None:
    """pyproject lists the packages one by one; a forgotten one would be missing from the wheel only."""
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    present = {module_name(path) for path in SOURCES if path.name == "__init__.py"}
    holding_code = {module_name(path.parent / "__init__.py") for path in SOURCES}
    assert listed == present == holding_code
