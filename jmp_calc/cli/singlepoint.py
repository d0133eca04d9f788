"""``jmp-calc singlepoint``: energies, forces and stresses of all frames of a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from ..errors import JMPError, UsageError
from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import Common, common_options, structure_argument, write_option

if TYPE_CHECKING:
    from ase import Atoms

    from ..calculator import JMPCalculator

CHOICES = ("energy", "energies", "forces", "stress")
LISTED_FRAMES = 1000
"""Above this many frames the summary gives no per-frame values; they are in results.extxyz."""


@click.command(
    epilog="""\b
Examples:
  jmp-calc singlepoint molecule.xyz --head b3lyp
  jmp-calc singlepoint train.extxyz --index 0:10 -m run/best.safetensors --properties energy,forces"""
)
@structure_argument
@common_options(out="./jmp_results/singlepoint")
@click.option("--index", default=None, help="Frames to compute: 0, -1, : or 0:10 (default: all).")
@click.option(
    "--properties",
    default=None,
    metavar="LIST",
    help=f"Comma-separated, of {', '.join(CHOICES)} (default: all that the structure has).",
)
@click.option("--allow-truncated", is_flag=True, help="Drop an incomplete last frame.")
@write_option("results")
def singlepoint(
    struct: str,
    common: Common,
    index: str | None,
    properties: str | None,
    allow_truncated: bool,
    write: tuple[str, ...],
) -> None:
    """Energy, forces and stress of structures.

    Writes results.extxyz with jmp_energy (eV), jmp_energies (eV per atom), jmp_forces (eV/Å) and jmp_stress
    (eV/Å³, Voigt order xx yy zz yz xz xy, ASE's sign: stress = -virial/volume). Labels in the input are kept
    as they are.
    """
    from ..io.files import parse_structure
    from ..io.structures import iter_frames
    from ..io.write import check_cell, written_name

    wanted = _parse_properties(properties)
    settings = {"struct": struct, "index": index or ":", "properties": list(wanted or CHOICES)}
    inputs = [parse_structure(struct).path]
    outputs = ("results.extxyz", *(written_name("results", name) for name in write))
    run = CommandRun(common, "singlepoint", outputs=outputs, settings=settings, inputs=inputs, redoes=True)
    if common.dry_run:
        run.check()
        _dry_run(struct, common, index, settings)
        return
    frames = iter_frames(struct, index=index, allow_truncated=allow_truncated)
    first = next(frames)  # a file that cannot be read is known before earlier results are removed
    check_cell(first, write)
    with run:
        _compute(run, struct, chain((first,), frames), wanted, write)


def _compute(
    run: CommandRun,
    struct: str,
    images: Iterable[Atoms],
    wanted: tuple[str, ...] | None,
    forms: tuple[str, ...],
) -> None:
    from ..io.files import parse_structure
    from ..io.structures import windows
    from ..io.write import write_as, write_extxyz, written_name

    calculator = run.common.calculator()
    run.model = model_record(calculator)
    frames: list[dict[str, Any]] = []
    notes: set[str] = set()
    kept: list[Atoms] = []
    count = 0
    with open(run.path("results.extxyz"), "w", encoding="utf-8") as stream:
        for window in windows(images):
            for atoms, results in _evaluate(
                calculator, window, wanted, where=f"{struct}, selected frame", first=count
            ):
                count += 1
                _say_once(run.common, atoms, notes)
                kept += [atoms] if forms else []
                write_extxyz(stream, [_labelled(atoms, results)])
                if count <= LISTED_FRAMES:
                    frames.append(_brief(atoms, results))
    run.add_input(parse_structure(struct).path, n_frames=count)
    run.add_output(run.path("results.extxyz"), "structures with jmp_* results")
    for form in forms:
        write_as(run.path(written_name("results", form)), kept, form)
        run.add_output(run.path(written_name("results", form)), "structures")
    run.results = {
        "n_frames": count,
        "frames": frames if count <= LISTED_FRAMES else f"more than {LISTED_FRAMES}: see results.extxyz",
        "notes": sorted(notes),
        "units": {"energy": "eV", "forces": "eV/Å", "stress": "eV/Å³"},
    }
    _print_table(run.common, frames, count)


def _evaluate(
    calculator: JMPCalculator, window: list[Atoms], wanted: tuple[str, ...] | None, *, where: str, first: int
) -> Iterator[tuple[Atoms, dict[str, Any]]]:
    """Results by property, in one batch if nothing is wrong; else one by one up to the faulty frame, which is
    named."""
    from ..checks import why_no_stress

    def names(atoms: Atoms) -> tuple[str, ...]:
        has_stress = why_no_stress(atoms.cell.array, atoms.pbc) is None
        return wanted or (CHOICES if has_stress else tuple(name for name in CHOICES if name != "stress"))

    asked = wanted or ("energy", "forces")
    try:
        found = calculator.batch(window, asked)
    except (JMPError, NotImplementedError):
        for number, atoms in enumerate(window, start=first):
            yield atoms, _single(calculator, atoms, names(atoms), f"{where} {number}")
        raise  # every frame alone was fine: the fault is in the batch
    for atoms, results in zip(window, found):
        yield atoms, {name: results[name] for name in names(atoms)}


def _single(calculator: JMPCalculator, atoms: Atoms, names: tuple[str, ...], where: str) -> dict[str, Any]:
    """Results of one frame; errors carry its name."""
    from ase.calculators.calculator import PropertyNotImplementedError

    try:
        calculator.calculate(atoms, names)
    except PropertyNotImplementedError as error:
        raise UsageError(str(error), where=where, hint="leave it out of --properties") from error
    except JMPError as error:
        raise type(error)(error.fact, where=where, hint=error.hint) from error
    return {name: calculator.results[name] for name in names}


def _labelled(atoms: Atoms, results: dict[str, Any]) -> Atoms:
    """A copy with jmp_* results; labels stay, and only a frame without any gets ours under the standard
    keys."""
    from ase.calculators.singlepoint import SinglePointCalculator

    out = atoms.copy()
    for name in ("energy", "stress"):
        if name in results:
            out.info[f"jmp_{name}"] = results[name]
    for name in ("energies", "forces"):
        if name in results:
            out.arrays[f"jmp_{name}"] = results[name]
    labels = getattr(atoms.calc, "results", {})
    out.calc = SinglePointCalculator(out, **(labels or results))
    return out


def _brief(atoms: Atoms, results: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    row: dict[str, Any] = {"formula": atoms.get_chemical_formula(), "n_atoms": len(atoms)}
    if "energy" in results:
        row["energy_ev"] = float(results["energy"])
    if "forces" in results:
        row["fmax_ev_per_ang"] = float(np.linalg.norm(results["forces"], axis=1).max())
    if "stress" in results:
        row["stress_ev_per_ang3"] = [float(value) for value in results["stress"]]
    return row


def _say_once(common: Common, atoms: Atoms, notes: set[str]) -> None:
    """Tell, once each, which inputs are ignored and that forces are written without constraints."""
    from ..checks import describe_constraints, ignored_inputs

    ignored, constraints = ignored_inputs(atoms), describe_constraints(atoms)
    found = [f"{name} are ignored: the model does not read them" for name in ignored]
    found += (
        [f"constraints found ({', '.join(constraints)}): the forces written are raw"] if constraints else []
    )
    for note in found:
        if note not in notes:
            notes.add(note)
            common.say(f"info: {note}")


def _print_table(common: Common, frames: Sequence[dict[str, Any]], count: int) -> None:
    if common.json or common.quiet:
        return
    click.echo(f"{'frame':>6} {'formula':<16} {'energy [eV]':>16} {'fmax [eV/Å]':>12}")
    for number, row in enumerate(frames[:20]):
        energy = f"{row['energy_ev']:.6f}" if "energy_ev" in row else "-"
        fmax = f"{row['fmax_ev_per_ang']:.4f}" if "fmax_ev_per_ang" in row else "-"
        click.echo(f"{number:>6} {row['formula']:<16} {energy:>16} {fmax:>12}")
    if count > 20:
        click.echo(f"… {count} frames in all, see results.extxyz")


def _parse_properties(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in CHOICES]
    if unknown or not names:
        fact = f"Property {unknown[0]!r} is not available." if unknown else "--properties names nothing."
        raise UsageError(fact, hint=f"choose from {', '.join(CHOICES)}")
    return names


def _dry_run(struct: str, common: Common, index: str | None, settings: dict[str, Any]) -> None:
    """Read and check every frame and load the model; compute and write nothing."""
    from ..io.structures import check_frames

    calculator = common.calculator()
    count = check_frames(struct, index=index)
    dry_run_report(common, "singlepoint", {**settings, "frames": count, "model": model_record(calculator)})
