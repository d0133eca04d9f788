"""Which small network learns most in equal time: variants of jmp-xs from scratch on 3BPA, one process and
thread each.

    python benchmarks/xs_architecture.py [--minutes 3] [--rows jmp-xs quadruplets ...]

Writes benchmarks/results/xs_architecture.yaml: validation force error, steps, cost in MFLOP (matrix products)
per main edge for energy and forces. This decided that jmp-xs has no quadruplet interaction.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import torch
import yaml
from ase.build import bulk
from folders import add_data_option
from torch.utils.flop_counter import FlopCounterMode

from jmp_calc import finetune
from jmp_calc.graph.batch import collate
from jmp_calc.graph.build import build_graph
from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.model.config import JMP_XS, JMP_XS_POLICY, BackboneConfig, HeadConfig, ModelConfig
from jmp_calc.model.potential import Potential
from jmp_calc.training import DataOptions
from jmp_calc.training.config import OptimConfig, TrainConfig
from jmp_calc.zoo.container import ModelCard, save_model

RESULTS = Path(__file__).parent / "results"
WITH_QUADS = dataclasses.replace(
    JMP_XS, quad_interaction=True, emb_size_quad_in=16, emb_size_quad_out=16, emb_size_sbf=16
)
QUAD_POLICY = dataclasses.replace(JMP_XS_POLICY, qint_cutoff=3.5)
VARIANTS: dict[str, tuple[BackboneConfig, GraphPolicy]] = {
    "jmp-xs": (JMP_XS, JMP_XS_POLICY),
    "quadruplets": (WITH_QUADS, QUAD_POLICY),
    "width 64": (dataclasses.replace(JMP_XS, emb_size_atom=64, emb_size_edge=64), JMP_XS_POLICY),
    "width 128": (dataclasses.replace(JMP_XS, emb_size_atom=128, emb_size_edge=128), JMP_XS_POLICY),
    "degrees 3": (dataclasses.replace(JMP_XS, num_spherical=3), JMP_XS_POLICY),
}


def new_network(backbone: BackboneConfig, policy: GraphPolicy) -> Potential:
    """Random weights, the same seed for all."""
    torch.manual_seed(0)
    head = HeadConfig("energy", hidden=32, num_layers=3)
    return Potential(
        ModelConfig(backbone, policy, (head,), "energy", subtract_lone_atom=True, pair_repulsion=True)
    )


def mflop_per_edge(potential: Potential) -> float:
    """Matrix products of one evaluation of energy and forces of Si64, per main edge."""
    atoms = bulk("Si", cubic=True) * (2, 2, 2)
    graph = build_graph(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc, potential.config.policy)
    batch = collate([graph])
    with FlopCounterMode(display=False) as counter:
        potential(batch, heads="energy")
    return counter.get_total_flops() / graph.n_edges / 1e6


def run(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train one variant for the full time."""
    potential = new_network(*VARIANTS[name])
    folder = args.work / name.replace(", ", "-").replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder / "start.safetensors", potential, ModelCard(name=name))
    train = args.data / "bpa3_train.xyz.gz"
    config = TrainConfig(max_time=60 * args.minutes, batch_size=4, optim=OptimConfig(lr=2e-3))
    result = finetune(
        train,
        model=f"scratch:{folder / 'start.safetensors'}",
        out=folder / "run",
        overwrite=True,
        data=DataOptions(train, valid_every=10),
        device="cpu",
        config=config,
    )
    return {
        "weights": sum(p.numel() for p in potential.backbone.parameters()),
        "mflop_per_main_edge": round(mflop_per_edge(potential), 3),
        "minutes": args.minutes,
        "steps": result.n_steps,
        "valid_forces_mae_mev_per_a": result.valid.forces_mae_mev_per_a,
        "valid_energy_mae_mev_per_atom": result.valid.energy_mae_mev_per_atom,
    }


def main() -> None:
    """Run the variants one after the other; rows are written as they are finished."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_option(parser)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--rows", nargs="*", choices=sorted(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--work", type=Path, default=Path("runs/xs_architecture"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS / "xs_architecture.yaml"
    for name in args.rows:
        rows = yaml.safe_load(path.read_text())["rows"] if path.exists() else {}
        rows[name] = run(name, args)
        RESULTS.mkdir(exist_ok=True)
        path.write_text(
            yaml.safe_dump(
                {
                    "what": "3BPA from scratch in equal time, one thread; benchmarks/xs_architecture.py",
                    "rows": rows,
                },
                sort_keys=False,
            )
        )
        print(name, rows[name], flush=True)


if __name__ == "__main__":
    main()
