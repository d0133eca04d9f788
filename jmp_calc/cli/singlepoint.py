"""``jmp-calc singlepoint``: energies, forces and stresses, or what else the head gives, of all frames of
files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import Common, common_options, structures_argument, uncertainty_options, write_option
from .singlepoint_output import CHOICES, Energies, Targets, opened

if TYPE_CHECKING:
    from ase import Atoms

    from ..io.structures import NamedFrame

LISTED_FRAMES = 1000
"""Above this many frames the summary gives no per-frame values; they are in results.extxyz."""


@click.command(
    epilog="""\b
Examples:
  jmp-calc singlepoint molecule.xyz --head b3lyp
  jmp-calc singlepoint train.extxyz --index 0:10 -m run/best.safetensors --properties energy,forces
  jmp-calc singlepoint slab.cif -m jmp-xs --properties energy,forces,stress,stresses
  jmp-calc singlepoint relaxed/ "run*/OUTCAR" md.traj@-1 -m jmp-xs
  jmp-calc singlepoint pool.extxyz -m run/best.safetensors --uncertainty last-layer
  jmp-calc singlepoint crystals.extxyz -m gaps/best.safetensors"""
)
@structures_argument
@common_options(out="./jmp_results/singlepoint")
@uncertainty_options
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
    given: tuple[str, ...],
    common: Common,
    index: str | None,
    properties: str | None,
    allow_truncated: bool,
    write: tuple[str, ...],
) -> None:
    """Energy, forces and stress of structures, or the scalar, class or vector that the head gives.

    STRUCT is one or more files that ASE reads, FILE@INDEX, folders of them, or patterns in quotes.

    Writes results.extxyz with jmp_energy (eV), jmp_energies (eV per atom), jmp_forces (eV/Å) and jmp_stress
    (eV/Å³, Voigt order xx yy zz yz xz xy, ASE's sign: stress = -virial/volume), and where --properties names
    them jmp_stresses, the share of each atom in it. Labels in the input are kept as they are. A head that was
    trained on another target gives jmp_TARGET, in the units of its labels, and of classes
    jmp_TARGET_probabilities. Frames of several files have jmp_file.
    """
    from ..io.files import find_structures, parse_structure
    from ..io.reader import UNLABELLED_SUFFIXES
    from ..io.structures import iter_named
    from ..io.write import check_cell, written_name

    wanted = _parse_properties(properties)
    specs = find_structures(given, UNLABELLED_SUFFIXES)
    settings = {"struct": list(given), "index": index or ":", "properties": list(wanted or CHOICES)}
    inputs = [parse_structure(spec).path for spec in specs]
    outputs = ("results.extxyz", *(written_name("results", name) for name in write))
    run = CommandRun(common, "singlepoint", outputs=outputs, settings=settings, inputs=inputs, redoes=True)
    if common.dry_run:
        run.check()
    frames = iter_named(specs, index=index, allow_truncated=allow_truncated)
    first = next(frames)  # a file that cannot be read is known before earlier results are removed
    if common.dry_run:
        _dry_run(specs, first, common, index, wanted, settings)
        return
    check_cell(first.atoms, write)
    with run:
        _compute(run, opened(common, wanted, first), chain((first,), frames), write, several=len(specs) > 1)


def _compute(
    run: CommandRun,
    model: Energies | Targets,
    images: Iterable[NamedFrame],
    forms: tuple[str, ...],
    *,
    several: bool,
) -> None:
    from ..io.structures import windows
    from ..io.write import write_extxyz

    run.model = model_record(model)
    rows: list[dict[str, Any]] = []
    notes: set[str] = set()
    kept: list[Atoms] = []
    counts: Counter[str] = Counter()
    # Not renamed at the end: a run that ends early leaves the frames that it has.
    with open(run.path("results.extxyz"), "w", encoding="utf-8") as stream:
        for window in windows(images):
            for frame, results in model.evaluate(window):
                counts[frame.spec] += 1
                _say_once(run.common, frame.atoms, notes, forces=model.has_forces)
                kept += [frame.atoms] if forms else []
                labelled = model.labelled(frame.atoms, results)
                labelled.info |= {"jmp_file": frame.spec} if several else {}
                write_extxyz(stream, [labelled])
                if counts.total() <= LISTED_FRAMES:
                    rows.append(_named(frame, several=several) | model.brief(results))
    _record(run, counts, kept, forms)
    count = counts.total()
    run.results = {
        "n_frames": count,
        "frames": rows if count <= LISTED_FRAMES else f"more than {LISTED_FRAMES}: see results.extxyz",
        "notes": sorted(notes),
        "units": model.units,
    }
    _print_table(run.common, model, rows, count)


def _record(run: CommandRun, counts: Counter[str], kept: Sequence[Atoms], forms: tuple[str, ...]) -> None:
    """The files that were read, and those that are written."""
    from ..io.files import parse_structure
    from ..io.write import write_as, written_name

    for spec, count in counts.items():
        run.add_input(parse_structure(spec).path, n_frames=count)
    run.add_output(run.path("results.extxyz"), "structures with jmp_* results")
    for form in forms:
        write_as(run.path(written_name("results", form)), kept, form)
        run.add_output(run.path(written_name("results", form)), "structures")


def _named(frame: NamedFrame, *, several: bool) -> dict[str, Any]:
    file = {"file": frame.spec, "frame": frame.number} if several else {}
    return {**file, "formula": frame.atoms.get_chemical_formula(), "n_atoms": len(frame)}


def _say_once(common: Common, atoms: Atoms, notes: set[str], *, forces: bool) -> None:
    """Tell, once each, which inputs are ignored and that forces are written without constraints."""
    from ..checks import describe_constraints, ignored_inputs

    ignored, constraints = ignored_inputs(atoms), describe_constraints(atoms) if forces else ()
    found = [f"{name} are ignored: the model does not read them" for name in ignored]
    found += (
        [f"constraints found ({', '.join(constraints)}): the forces written are raw"] if constraints else []
    )
    for note in found:
        if note not in notes:
            notes.add(note)
            common.say(f"info: {note}")


def _print_table(
    common: Common, model: Energies | Targets, rows: Sequence[dict[str, Any]], count: int
) -> None:
    if common.json or common.quiet:
        return
    names = [f"{row['file']} {row['frame']}" if "file" in row else f"{n}" for n, row in enumerate(rows)]
    width = max(6, *map(len, names))
    click.echo(f"{'frame':>{width}} {'formula':<16} {model.title}")
    for name, row in zip(names, rows, strict=True):
        click.echo(f"{name:>{width}} {row['formula']:<16} {model.shown(row)}")
    if count > len(rows):
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


def _dry_run(
    specs: Sequence[str],
    first: NamedFrame,
    common: Common,
    index: str | None,
    wanted: tuple[str, ...] | None,
    settings: dict[str, Any],
) -> None:
    """Read and check every frame and load the model; compute and write nothing."""
    from ..io.structures import check_frames

    model = opened(common, wanted, first)
    count = sum(check_frames(spec, index=index, also=model.check) for spec in specs)
    dry_run_report(common, "singlepoint", {**settings, "frames": count, "model": model_record(model)})
