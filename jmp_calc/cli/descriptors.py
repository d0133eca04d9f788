"""``jmp-calc descriptors``: features of the atoms and structures of a file, for other programs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from typing import IO, TYPE_CHECKING, Any

import click

from ..errors import JMPError
from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import CHEMISCOPE_OPTION, ELEMENTS_OPTION, Common, common_options, structure_argument
from .singlepoint_output import without_keys

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from ..calculator import JMPCalculator
    from ..inference.descriptors import Descriptors
    from ..model.potential import Layer


@click.command(
    epilog="""\b
Examples:
  jmp-calc descriptors train.extxyz -m jmp-xs -o features
  jmp-calc descriptors md.traj --index ::10 --no-per-atom
  jmp-calc descriptors POSCAR -m jmp-l --head oc20 --layer 3 --per-element"""
)
@structure_argument
@ELEMENTS_OPTION
@common_options(out="./jmp_results/descriptors", calculator=False)
@click.option("--index", default=None, help="Frames to compute: 0, -1, : or 0:10 (default: all).")
@click.option(
    "--layer",
    default="final",
    show_default=True,
    help="final: what the heads read; 1, 2, ...: after that interaction block.",
)
@click.option(
    "--per-atom/--no-per-atom", default=True, show_default=True, help="Write the features of every atom."
)
@click.option("--per-element", is_flag=True, help="Also write the means over the atoms of each element.")
@click.option(
    "--extxyz", is_flag=True, help="Also write the structures with their features to descriptors.extxyz."
)
@CHEMISCOPE_OPTION
def descriptors(
    struct: str,
    common: Common,
    index: str | None,
    layer: str,
    per_atom: bool,
    per_element: bool,
    extxyz: bool,
    chemiscope: bool,
) -> None:
    """Features of atoms and structures that do not change under rotations and translations.

    Writes descriptors.npz (S structures, N atoms, D features): mean (S, D), n_atoms (S,), formulas (S,); with
    the atoms numbers (N,), per_atom (N, D) and offsets (S+1,): structure i has the rows offsets[i] to
    offsets[i+1]. With --per-element element_structure (P,), element_number (P,) and element_mean (P, D). A
    sum over atoms is n_atoms times the mean. With --chemiscope a map of their principal components.
    """
    from ..io.chemiscope import FILE, require_chemiscope
    from ..io.structures import iter_frames, parse_structure

    chosen: Any = int(layer) if layer.isdecimal() else layer
    settings = {
        "struct": struct,
        "index": index or ":",
        "layer": chosen,
        "per_atom": per_atom,
        "per_element": per_element,
        "extxyz": extxyz,
    }
    if chemiscope:
        require_chemiscope()
    wanted = {"descriptors.npz": True, "descriptors.extxyz": extxyz, FILE: chemiscope}
    outputs = tuple(name for name, asked in wanted.items() if asked)
    inputs = [parse_structure(struct).path]
    run = CommandRun(common, "descriptors", outputs=outputs, settings=settings, inputs=inputs, redoes=True)
    if common.dry_run:
        run.check()
        _dry_run(struct, common, index, chosen, settings)
        return
    frames = iter_frames(struct, index=index)
    first = next(frames)  # a file that cannot be read is known before earlier results are removed
    with run:
        images = chain((first,), frames)
        columns = _Columns(per_atom=per_atom, per_element=per_element, structures=chemiscope)
        if extxyz:
            # Not renamed at the end: a run that ends early leaves the frames that it has.
            with open(run.path("descriptors.extxyz"), "w", encoding="utf-8") as stream:
                run.add_output(run.path("descriptors.extxyz"), "structures with jmp_descriptors")
                _compute(run, struct, images, chosen, columns, stream)
        else:
            _compute(run, struct, images, chosen, columns, None)
        if chemiscope:
            _write_map(run, columns)


def _write_map(run: CommandRun, columns: _Columns) -> None:
    """chemiscope.json.gz from what was computed."""
    from ..inference.descriptor_view import write_view
    from ..io.chemiscope import FILE

    arrays = columns.arrays()
    write_view(run.path(FILE), columns.structures, arrays["mean"], arrays.get("per_atom"))
    run.add_output(run.path(FILE), "for https://chemiscope.org")
    run.common.say(f"map for https://chemiscope.org: {run.path(FILE)}")


def _compute(
    run: CommandRun,
    struct: str,
    images: Iterable[Atoms],
    layer: Layer,
    columns: _Columns,
    stream: IO[str] | None,
) -> None:
    import numpy as np

    from ..inference.descriptors import check_layer
    from ..io.atomic import replacing
    from ..io.files import parse_structure
    from ..io.progress import Progress
    from ..io.structures import windows
    from ..io.write import write_extxyz

    calculator = run.common.network()
    run.model = model_record(calculator)
    check_layer(layer, calculator.model_config)
    with Progress("descriptors", None, quiet=run.common.quiet) as progress:
        for window in windows(images):
            found = _described(
                calculator, window, layer, where=f"{struct}, selected frame", first=columns.n_structures
            )
            columns.add(found, window)
            for number, atoms in enumerate(window):
                if stream is not None:
                    write_extxyz(stream, [_labelled(atoms, found, number, per_atom=columns.per_atom)])
                progress.update(found.formulas[number])
    arrays = columns.arrays()
    with replacing(run.path("descriptors.npz")) as temporary, temporary.open("wb") as target:
        np.savez(target, **arrays)  # type: ignore[arg-type]
    run.add_input(parse_structure(struct).path, n_frames=columns.n_structures)
    run.add_output(run.path("descriptors.npz"), "features")
    n_atoms, n_features = int(arrays["n_atoms"].sum()), arrays["mean"].shape[1]
    run.results = {
        "n_frames": columns.n_structures,
        "n_atoms": n_atoms,
        "n_features": n_features,
        "layer": layer,
        "arrays": {name: list(array.shape) for name, array in arrays.items()},
    }
    run.common.say(
        f"{columns.n_structures} structures, {n_atoms} atoms, {n_features} features: "
        f"{run.path('descriptors.npz')}"
    )


class _Columns:
    """The arrays of descriptors.npz, from one window of structures after the other."""

    def __init__(self, *, per_atom: bool, per_element: bool, structures: bool) -> None:
        self.per_atom, self.per_element, self.keeps_structures = per_atom, per_element, structures
        self.structures: list[Atoms] = []
        self.n_structures = 0
        self._parts: defaultdict[str, list[NDArray[Any]]] = defaultdict(list)

    def add(self, found: Descriptors, window: list[Atoms]) -> None:
        """Keep what is to be written of more structures."""
        import numpy as np

        parts = {
            "mean": found.mean(),
            "n_atoms": np.diff(found.offsets),
            "formulas": np.array(found.formulas),
        }
        if self.per_atom:
            parts |= {"numbers": found.numbers, "per_atom": found.per_atom}
        if self.per_element:
            means = found.element_means()
            parts |= {
                "element_structure": self.n_structures + means.structure,
                "element_number": means.number,
                "element_mean": means.mean,
            }
        for name, part in parts.items():
            self._parts[name].append(part)
        self.n_structures += len(found.formulas)
        if self.keeps_structures:
            self.structures += window

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays by name."""
        import numpy as np

        found = {name: np.concatenate(parts) for name, parts in self._parts.items()}
        if self.per_atom:
            found["offsets"] = np.cumsum([0, *found["n_atoms"]])
        return found


def _described(
    calculator: JMPCalculator, window: list[Atoms], layer: Layer, *, where: str, first: int
) -> Descriptors:
    """Descriptors of a window; where it fails, the faulty frame is looked for and named."""
    try:
        return calculator.descriptors(window, layer=layer)
    except JMPError:
        for number, atoms in enumerate(window, start=first):
            try:
                calculator.descriptors(atoms, layer=layer)
            except JMPError as error:
                raise type(error)(error.fact, where=f"{where} {number}", hint=error.hint) from error
        raise  # every frame alone was fine: the fault is in the batch


def _labelled(atoms: Atoms, found: Descriptors, number: int, *, per_atom: bool) -> Atoms:
    """A copy of a structure, labels included, with jmp_descriptors_mean and, of every atom,
    jmp_descriptors, in place of those of an earlier run."""
    out = without_keys(atoms, ["jmp_descriptors_mean", "jmp_descriptors"])
    out.calc = atoms.calc
    out.info["jmp_descriptors_mean"] = found.of(number).mean(axis=0, dtype=float)
    if per_atom:
        out.arrays["jmp_descriptors"] = found.of(number)
    return out


def _dry_run(struct: str, common: Common, index: str | None, layer: Layer, settings: dict[str, Any]) -> None:
    """Read and check every frame and load the model; compute and write nothing."""
    from ..inference.descriptors import check_layer
    from ..io.structures import check_frames

    calculator = common.network()
    check_layer(layer, calculator.model_config)
    count = check_frames(struct, index=index)
    dry_run_report(common, "descriptors", {**settings, "frames": count, "model": model_record(calculator)})
