"""``jmp-calc preprocess``: labelled structures as a record set that training reads piece by piece."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...errors import UsageError
from ..config import config_option
from .unit_options import NAMES as UNIT_NAMES
from .unit_options import label_units, unit_options

if TYPE_CHECKING:
    from ...training.records.preprocess import Inputs
    from ...training.records.record_set import RecordSet

EPILOG = """\b
Examples:
  jmp-calc preprocess train.extxyz -o records/train
  jmp-calc preprocess runs/*.traj more.db -o records/mine --on-bad skip
  jmp-calc preprocess ~/data/oc20 --dataset oc20 --member 2M --min-atoms 4 --workers 8 -o records/oc20-2M
  jmp-calc preprocess ~/data/rmd17 --dataset rmd17 --member aspirin --part train -o records/aspirin

A record set is a folder: LMDB files, sizes.npy and set.json with linear references, scales
and hashes of the sources.
One set per split: the references and scales are those of the frames in it."""


@click.command(epilog=EPILOG)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE_OR_DIR...")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder of the record set.")
@click.option("--dataset", default=None, help="FILE_OR_DIR holds this data set, see jmp-calc data list.")
@click.option(
    "--member",
    default=None,
    help="Molecule, task or part of the data set.  [default: train, or the only one]",
)
@click.option(
    "--part",
    type=click.Choice(["all", "train", "valid", "test"]),
    default=None,
    help="Part of a split of the data set.  [default: all]",
)
@click.option("--split", default=None, help="Name of the split.  [default: that of the JMP paper]")
@click.option("--energy-key", help="Name of the energy in the file.")
@click.option("--forces-key", help="Name of the forces.")
@click.option("--stress-key", help="Name of the stress (ASE's sign).")
@click.option("--virials-key", help="Name of the virials (stress = -virials / volume).")
@click.option(
    "--target", default=None, metavar="KEY", help="This scalar instead of energies, forces and stresses."
)
@unit_options
@click.option(
    "--allow-missing",
    multiple=True,
    type=click.Choice(["energy", "forces"]),
    help="Take frames that lack this label.",
)
@click.option("--allow-truncated", is_flag=True, help="Drop an incomplete last frame.")
@click.option(
    "--min-atoms",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Leave out smaller frames (4 in the pre-training of JMP).",
)
@click.option(
    "--on-bad",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="What to do with bad frames.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes; several files, or the frames of a data set, are divided among them.",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier record set.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no messages except errors.")
@config_option
def preprocess(paths: tuple[Path, ...], out: Path, **options: Any) -> None:
    """Write labelled structures as a record set: training larger than memory starts on it at once.

    Takes every file that ASE reads, packed or not, folders of such files, or a published data set with
    --dataset.
    """
    from ...training.records.preprocess import preprocess as write

    def say(text: str) -> None:
        if not options["quiet"]:
            click.echo(text, err=True)

    records = write(
        _inputs(paths, options),
        out,
        min_atoms=options["min_atoms"],
        on_bad=options["on_bad"],
        workers=options["workers"],
        overwrite=options["overwrite"],
        say=say,
    )
    click.echo(_report(records))


def _inputs(paths: tuple[Path, ...], options: dict[str, Any]) -> Inputs:
    from ...training.data.keys import LabelKeys
    from ...training.data.sources import find_files
    from ...training.data.stream import LabelOptions
    from ...training.records.preprocess import FileInputs, data_set

    about_labels = (
        "energy_key",
        "forces_key",
        "stress_key",
        "virials_key",
        "target",
        *UNIT_NAMES,
        "allow_missing",
        "allow_truncated",
    )
    about_sets = ("member", "part", "split")
    wrong = [name for name in (about_labels if options["dataset"] else about_sets) if options[name]]
    if wrong:
        reason = (
            "a data set has its own" if options["dataset"] else "it is about --dataset, which is not given"
        )
        raise UsageError(
            f"--{wrong[0].replace('_', '-')} has no meaning here: {reason}.", hint="leave it out"
        )
    if options["dataset"]:
        if len(paths) != 1:
            raise UsageError(f"A data set is in one folder, {len(paths)} were given.", where="--dataset")
        return data_set(
            options["dataset"], options["member"], paths[0], options["part"] or "all", options["split"]
        )
    keys = LabelKeys(*(options[f"{name}_key"] for name in ("energy", "forces", "stress", "virials")))
    required = tuple(label for label in ("energy", "forces") if label not in options["allow_missing"])
    return FileInputs(
        find_files(paths),
        LabelOptions(
            keys,
            required,
            options["target"],
            label_units(options),
            options["allow_truncated"],
        ),
    )


def _report(records: RecordSet) -> str:
    from ...model.elements import symbol

    found = records.statistics
    lines = [
        f"{records.path}  {found.count} frames, {found.mean_atoms:.1f} atoms on average, at most "
        f"{found.max_atoms}"
    ]
    lines.append("  elements    " + " ".join(symbol(z) for z in found.elements))
    labels = {"energy": found.n_energy, "forces": found.n_forces, "stress": found.n_stress, **found.targets}
    lines.append("  labels      " + ", ".join(f"{name} {count}" for name, count in labels.items() if count))
    if found.energy_std is not None:
        lines.append(
            "  references  "
            + ", ".join(f"{symbol(z)} {e:.4f}" for z, e in found.references.items())
            + " eV"
            + ("" if found.rank == len(found.references) else f" (only {found.rank} are determined)")
        )
        lines.append(f"  energy      standard deviation {found.energy_std:.6g} eV beside them")
    if found.force_rms is not None:
        lines.append(f"  forces      root mean square of a component {found.force_rms:.6g} eV/Å")
    return "\n".join(lines)
