"""``jmp-calc estimate``: edges, memory and time of a structure, without evaluating the network."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ..inference.settings import Settings
from .arguments import Arguments
from .config import config_option
from .options import structure_argument

if TYPE_CHECKING:
    from ..inference.estimate import Estimate

ESTIMATE = Arguments("inference.estimate", "estimate", Settings)


@click.command(
    epilog="""\b
Examples:
  jmp-calc estimate POSCAR
  jmp-calc estimate protein.pdb -m jmp-l --head ani1x --threads 8
  jmp-calc estimate run.traj@0 --timestep 2 --json"""
)
@structure_argument
@click.option("-m", "--model", default="jmp-xs", show_default=True, help=ESTIMATE.help("model"))
@ESTIMATE.option("--head", argument="head")
@ESTIMATE.option("--device", argument="device")
@ESTIMATE.option("--dtype", argument="dtype", type=click.Choice(["float32", "float64"]))
@ESTIMATE.option("--forces", argument="forces", type=click.Choice(["conservative", "direct"]))
@ESTIMATE.option("--graph", argument="graph", type=click.Choice(["official", "smooth"]))
@ESTIMATE.option("--cutoff", argument="cutoff", type=float)
@ESTIMATE.option("--max-neighbors", argument="max_neighbors", type=int)
@ESTIMATE.option("--elements", argument="elements", type=click.Choice(["trained", "any"]))
@click.option("--threads", type=click.IntRange(min=1), default=None, help=ESTIMATE.help("threads"))
@click.option(
    "--timestep",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Time step of the dynamics whose ns/day are printed, fs.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
@config_option
def estimate(struct: str, timestep: float, as_json: bool, **arguments: Any) -> None:
    """Edges, peak memory and seconds per step of energy and forces of STRUCT (any ASE file, FILE@INDEX).

    The graphs are built, the network is not evaluated; a second of probes says how fast this machine is. Exit
    code 6 when the structure would not fit into the free memory.
    """
    from ..errors import JMPError
    from ..inference.estimate import estimate as make_estimate
    from ..io.structures import pick_structure

    picked = pick_structure(struct)
    atoms = picked.atoms
    try:
        found = make_estimate(atoms, **arguments)
    except JMPError as error:
        raise type(error)(error.fact, where=error.where or struct, hint=error.hint) from error
    if as_json:
        record = {
            "structure": struct,
            **found.to_dict(),
            "timestep_fs": timestep,
            "ns_per_day": found.ns_per_day(timestep),
        }
        click.echo(json.dumps(record, indent=1))
    else:
        if picked.message is not None:
            click.echo(picked.message, err=True)
        _print(found, timestep)
    found.require_fit()


def _print(found: Estimate, timestep: float) -> None:
    counts, machine = found.counts, found.machine
    edges = f"main {counts.main}, a2a {counts.a2a}, a2ee2a {counts.a2ee2a}, qint {counts.qint}"
    free = "free memory unknown" if found.free_bytes is None else f"{found.free_bytes / 2**30:.1f} GiB free"
    most = (
        ""
        if found.atoms_that_fit is None
        else f", room for about {float(f'{found.atoms_that_fit:.2g}'):.0f} such atoms"
    )
    verdict = "fits" if found.fits else "DOES NOT FIT"
    rows = (
        ("structure", f"{found.formula}, {counts.atoms} atoms"),
        ("model", f"{found.model}, head {found.head}, {found.forces} forces, {found.dtype}"),
        ("device", f"{found.device}, CPU threads: {found.threads}"),
        ("edges", edges if found.counted else f"{edges} (expected from the density, not counted)"),
        (
            "memory",
            f"{_gib(found.memory_bytes)} per call and {_gib(found.weight_bytes)} of weights, {free}: "
            f"{verdict}{most}",
        ),
        ("recomputed", found.recompute),
        (
            "dense work",
            f"{found.dense_flops / 1e9:.4g} GFLOP; this machine does {machine.flops / 1e9:.0f} GFLOP/s",
        ),
        ("time", f"{found.seconds:.3g} s per step, {1 / found.seconds:.3g} steps/s"),
        ("dynamics", f"{found.ns_per_day(timestep):.3g} ns/day at {timestep:g} fs"),
    )
    for label, text in rows:
        click.echo(f"{label:<12} {text}")


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 / 20 else f"{size / 2**20:.1f} MiB"
