"""``jmp-calc serve``: a loaded model for programs that speak i-PI's socket protocol."""

from __future__ import annotations

import json
from functools import partial

import click

from .arguments import Arguments
from .command_run import model_record
from .dry_run import dry_run_report
from .options import Common, common_options, structure_argument

SERVE = Arguments("engines.serve", "serve")
EPILOG = """\b
Examples:
  jmp-calc serve ethanol.xyz --unix ethanol
  jmp-calc serve si64.cif -m jmp-xs --head pbe --dtype float64 --port 31415
  jmp-calc serve slab.cif --port 31415 --host node17 --wait 600

The other program is started before or after: ASE's SocketIOCalculator(unixsocket="ethanol"), or i-PI with
<ffsocket mode="unix">. When it has ended, the next one at the same place is served. Ctrl-C or SIGTERM ends it
after the evaluation under way, with exit code 0."""


@click.command(epilog=EPILOG)
@structure_argument
@common_options(out=None)
@SERVE.option("--unix", argument="unix", metavar="NAME")
@SERVE.option("--port", argument="port", type=int)
@SERVE.option("--host", argument="host")
@SERVE.option("--wait", argument="wait", type=click.FloatRange(min=0), metavar="SECONDS")
def serve(
    struct: str, common: Common, unix: str | None, port: int | None, host: str | None, wait: float | None
) -> None:
    """Compute energies, forces and virials for i-PI, ASE and others that open a socket, with a warm model.

    STRUCT (any ASE file, FILE@INDEX) says which atoms they are, in which order, and what is periodic: the
    protocol carries positions and cells only. Nothing is written.
    """
    from ..engines.replicas import described
    from ..engines.serve import address_of, check_wait
    from ..engines.serve import serve as run_serve
    from ..io.structures import pick_structure

    address = address_of(unix, port, host)
    check_wait(wait)
    picked = pick_structure(struct)
    if picked.message is not None:
        common.say(picked.message)
    atoms = picked.atoms
    atoms.calc = common.calculator(atoms)
    model, structure = model_record(atoms.calc), described(atoms)
    if common.dry_run:
        facts = {
            "model": model,
            "structure": f"{structure}, from {struct}",
            "address": str(address),
            "wait": wait if common.json or wait is not None else "no limit",
        }
        dry_run_report(common, "serve", facts)
        return
    common.say(f"{structure}; {model['name']}, head {model['head']}, {model['dtype']}, {model['device']}")
    result = run_serve(
        atoms, unix=unix, port=port, host=host, wait=wait, say=common.say, fault=partial(click.echo, err=True)
    )
    common.say(f"ended: {result}")
    if common.json:
        click.echo(json.dumps({"command": "serve", "model": model, "results": result.to_dict()}, indent=1))
