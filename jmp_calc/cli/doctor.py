"""``jmp-calc doctor``: is this installation complete, and what will it run on."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Literal

import click

from ..errors import JMPError
from .requirements import REQUIRED, needed, package_of, requirements_in_use, within

if TYPE_CHECKING:
    from ase import Atoms

OPTIONAL = {
    "matplotlib": "plots and fine-tuning reports; pip install 'jmp-calc[plot]'",
    "h5py": "the data sets SPICE, ANI-1x and Transition-1x; pip install 'jmp-calc[data]'",
    "lmdb": "OC20, OC22 and .aselmdb files; pip install 'jmp-calc[data]'",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    check: str
    state: Literal["ok", "note", "fail"]
    text: str


@click.command(
    epilog="""\b
Examples:
  jmp-calc doctor
  jmp-calc doctor -m run/best.safetensors --device cuda"""
)
@click.option("-m", "--model", default="jmp-xs", show_default=True, help="Model for the test calculation.")
@click.option("--head", default=None, help="Head of the model (default: the one the file names).")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
@click.pass_context
def doctor(ctx: click.Context, model: str, head: str | None, device: str, as_json: bool) -> None:
    """Check packages, device, memory, model cache and one small calculation; exit code 1 if something fails.

    Nothing is downloaded and nothing is changed.
    """
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        _packages,
        _versions,
        lambda: _device(device),
        _scatter,
        _memory,
        _cache,
        _models,
        lambda: _calculation(model, head, device),
    )
    findings: list[Finding] = []
    for check in checks:
        lacking = any(found.check == "package" and found.state == "fail" for found in findings)
        if lacking and check not in checks[:3]:
            break  # the other checks would fail for that reason
        for finding in check():
            findings.append(finding)
            if not as_json:
                click.echo(f"{finding.state:<5} {finding.check:<12} {finding.text}")
    failed = sum(finding.state == "fail" for finding in findings)
    if as_json:
        click.echo(
            json.dumps({"ok": not failed, "findings": [asdict(finding) for finding in findings]}, indent=1)
        )
    else:
        click.echo("everything works" if not failed else f"{failed} problem{'s' if failed > 1 else ''} found")
    ctx.exit(1 if failed else 0)


def _python() -> Iterator[Finding]:
    from .main import installed_version

    text = f"{installed_version()} on Python {platform.python_version()}, {platform.platform()}"
    yield Finding("jmp-calc", "ok", text)


def _packages() -> Iterator[Finding]:
    found = []
    for name in REQUIRED:
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken package may raise anything
            how = f"pip install '{needed(name)}'"
            yield Finding("package", "fail", f"{name} cannot be imported ({_first_line(error)}): {how}")
            continue
        found.append(f"{name} {_version(name)}")
    yield Finding("packages", "ok", ", ".join(found))
    for name, purpose in OPTIONAL.items():
        if importlib.util.find_spec(name) is None:
            yield Finding("package", "note", f"{name} is not installed ({purpose})")


def _versions() -> Iterator[Finding]:
    """Installed packages outside the bounds that this jmp-calc states."""
    try:
        stated = requirements_in_use()
    except metadata.PackageNotFoundError:
        yield Finding("versions", "note", "bounds are not known: jmp-calc runs from its sources")
        return
    wrong = 0
    for package, bounds in stated.items():
        try:
            installed = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # told as a package that cannot be imported, or an extra that nobody asked for
        if not within(installed, bounds):
            wrong += 1
            text = f"{package} {installed} is outside {bounds}: pip install '{package}{bounds}'"
            yield Finding("versions", "fail", text)
    if not wrong:
        yield Finding("versions", "ok", f"{len(stated)} packages within the bounds of jmp-calc")


def _device(name: str) -> Iterator[Finding]:
    import torch

    from ..machine.device import choose_device

    try:
        device = choose_device(name)
    except JMPError as error:
        yield Finding("device", "fail", str(error))
        return
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        text = (
            f"{device} ({properties.name}, {properties.total_memory / 2**30:.0f} GiB), CUDA "
            f"{torch.version.cuda}"
        )
    else:
        text = f"cpu, {torch.get_num_threads()} threads of {os.cpu_count()} cores"
    yield Finding("device", "ok", text)


def _scatter() -> Iterator[Finding]:
    if importlib.util.find_spec("torch_scatter") is None:
        yield Finding("sums", "ok", "native torch (torch-scatter is optional and not installed)")
        return
    try:
        importlib.import_module("torch_scatter")
    except Exception as error:  # undefined symbols raise OSError, others anything
        first = (str(error).splitlines() or [""])[0]
        yield Finding("sums", "note", f"native torch; torch-scatter is installed but broken ({first})")
        return
    yield Finding(
        "sums", "ok", f"native torch; torch-scatter {_version('torch_scatter')} works when asked for"
    )


def _memory() -> Iterator[Finding]:
    from ..machine.host_memory import available_memory

    free = available_memory()
    text = "not known on this system" if free is None else f"{free / 2**30:.1f} GiB free"
    yield Finding("memory", "ok" if free is None or free > 2**30 else "note", text)


def _cache() -> Iterator[Finding]:
    from ..machine.home import NO_HOME
    from ..zoo import cache
    from ..zoo.registry import home

    folder = home()
    existing = folder.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    writable = os.access(existing, os.W_OK) and not folder.is_relative_to(NO_HOME)
    state = "downloads are off (JMP_CALC_OFFLINE)" if cache.offline() else "downloads allowed"
    text = f"{folder}, {'writable' if writable else 'not writable: set JMP_CALC_HOME'}, {state}"
    yield Finding("cache", "ok" if writable else "note", text)


def _models() -> Iterator[Finding]:
    from ..zoo import cache
    from ..zoo.registry import load_registry

    for name, entry in load_registry().items():
        try:
            file = cache.checked(name, entry, rehash=True)
        except JMPError as error:
            yield Finding(name, "fail", str(error))
            continue
        if file is None:
            how = "reinstall jmp-calc" if entry.bundled else f"jmp-calc models fetch {name}"
            state: Literal["fail", "note"] = "fail" if entry.bundled else "note"
            yield Finding(name, state, f"not on this machine ({how}); licence {entry.licence}")
        else:
            text = f"{file.path}, sha256 {file.sha256[:12]}… as recorded, licence {entry.licence}"
            yield Finding(name, "ok", text)


def _calculation(model: str, head: str | None, device: str) -> Iterator[Finding]:
    """Energy and forces of a molecule of elements that the head knows; they must sum to zero."""
    import numpy as np

    from ..calculator import JMPCalculator
    from ..zoo.names import locate

    started = time.perf_counter()
    try:
        locate(model, may_fetch=False)
        calculator = JMPCalculator(model, head=head, device=device)
        molecules, _ = calculator.evaluator.choice.possible
        atoms = _molecule(molecules.elements)
        calculator.decide_head(atoms)
        energy, forces = calculator.get_potential_energy(atoms), calculator.get_forces(atoms)
    except JMPError as error:
        yield Finding("calculation", "fail", f"{model}: {error}")
        return
    wall, rest = time.perf_counter() - started, float(np.abs(forces.sum(axis=0)).max())
    state: Literal["ok", "fail"] = "ok" if rest < 1e-3 else "fail"
    yield Finding(
        "calculation",
        state,
        f"{model}, head {calculator.info.head}: {atoms.symbols} {energy:.4f} eV in "
        f"{wall:.1f} s, net force {rest:.1e} eV/Å",
    )


def _molecule(elements: tuple[int, ...] | None) -> Atoms:
    """Water where the head knows it (None: any element), else two atoms of its lightest element at bond
    length."""
    from ase import Atoms
    from ase.build import molecule

    from ..model.elements import COVALENT_RADII

    if elements is None or {1, 8} <= set(elements):
        return molecule("H2O")
    lightest = min(elements)
    return Atoms([lightest, lightest], positions=[[0.0, 0.0, 0.0], [2 * COVALENT_RADII[lightest], 0.0, 0.0]])


def _version(module: str) -> str:
    try:
        return metadata.version(package_of(module))
    except metadata.PackageNotFoundError:
        return "?"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
