"""What this installation states that it needs, from the metadata of the package."""

from __future__ import annotations

import re
from importlib import metadata

REQUIRED = (
    "torch",
    "ase",
    "numpy",
    "scipy",
    "matscipy",
    "phonopy",
    "spglib",
    "seekpath",
    "click",
    "filelock",
    "platformdirs",
    "yaml",
    "tqdm",
)
"""Names of modules, in the order of their weight."""
_PACKAGES = {"yaml": "pyyaml", "torch_sim": "torch-sim-atomistic"}
_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)((?:(?:>=|<)[0-9.]+,?)*)")


def package_of(module: str) -> str:
    """Name under which a module is installed."""
    return _PACKAGES.get(module, module.replace("_", "-"))


def requirements() -> dict[str, str]:
    """Package -> bounds such as ">=3.29,<3.30", extras included; PackageNotFoundError without metadata."""
    return {package: bounds for _, package, bounds in _stated() if bounds}


def requirements_in_use() -> dict[str, str]:
    """The same without extras of which a package is not installed: nobody asked for them, and what they say
    of packages that others need too (setuptools) is no fault."""
    stated = _stated()
    unused = {extra for extra, package, _ in stated if extra and not _is_installed(package)}
    return {package: bounds for extra, package, bounds in stated if bounds and extra not in unused}


def _stated() -> list[tuple[str, str, str]]:
    """Extra (or ""), package and bounds (or "") of every requirement."""
    found = []
    for line in metadata.requires("jmp-calc") or ():
        extra = _EXTRA.search(line)
        if match := _REQUIREMENT.match(line):
            # The metadata sort the bounds as they like; people read the lower one first.
            bounds = ",".join(sorted(match[2].split(","), reverse=True))
            found.append((extra[1] if extra else "", match[1].lower(), bounds))
    return found


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def within(version: str, bounds: str) -> bool:
    """Whether a version lies within bounds made of >= and <; what follows the numbers is not compared."""
    for bound in bounds.split(","):
        limit, found = _numbers(bound.lstrip("<>=")), _numbers(version)
        if (found < limit) if bound.startswith(">=") else (found >= limit):
            return False
    return True


def needed(module: str) -> str:
    """What to hand to pip for a module, with its bounds where they are known."""
    package = package_of(module)
    try:
        return f"{package}{requirements().get(package, '')}"
    except metadata.PackageNotFoundError:
        return package


def _numbers(version: str) -> tuple[int, ...]:
    """Release numbers, 3.29 as (3, 29, 0, 0)."""
    match = re.match(r"[0-9.]*", version)
    parts = [int(part) for part in (match[0] if match else "").split(".") if part]
    return tuple([*parts, 0, 0, 0, 0][:4])
