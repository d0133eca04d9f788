"""A small network that knows its training data: rattled ethanol and methane."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule

from jmp_calc.graph.batch import collate
from jmp_calc.graph.build import build_graph
from jmp_calc.model.config import HeadConfig
from jmp_calc.zoo.container import load_model, save_model
from jmp_calc.zoo.knowledge import ElementStatistics, HeadStatistics, Knowledge


def training_structures() -> list[Atoms]:
    """Forty rattled molecules."""
    found = []
    for seed in range(40):
        atoms = molecule("CH3CH2OH" if seed % 2 else "CH4")
        atoms.rattle(0.1, seed=seed)
        found.append(atoms)
    return found


def knowing_model(path: Path, target: Path, head: str = "materials") -> Path:
    """The model file at ``path`` with statistics of a head on these molecules, written to ``target``."""
    loaded = load_model(path)
    structures, policy = training_structures(), loaded.potential.config.policy
    graphs = [build_graph(a.positions, a.numbers, a.cell.array, a.pbc, policy) for a in structures]
    found = loaded.potential.readout(collate(graphs), head)
    features, descriptors = found.features.numpy(), found.descriptors.numpy()
    moment = features.T @ features / len(features)
    numbers = np.concatenate([atoms.numbers for atoms in structures])
    kinds = np.unique(numbers)
    elements = ElementStatistics(
        kinds,
        np.array([(numbers == z).sum() for z in kinds]),
        np.stack([descriptors[numbers == z].mean(axis=0) for z in kinds]).astype(np.float32),
        np.stack([np.cov(descriptors[numbers == z].T) for z in kinds]).astype(np.float32),
    )
    statistics = HeadStatistics(moment, len(features), 1e-4 * float(np.trace(moment)), 0.05)
    save_model(target, loaded.potential, loaded.card, Knowledge({head: statistics}, elements))
    return target


def with_committee(path: Path, target: Path, *members: HeadConfig, scale: float = 1.0) -> Path:
    """The same file with further heads, of random weights, as the committee of the first."""
    loaded = load_model(path)
    potential, first = loaded.potential, loaded.potential.config.heads[0]
    for member in members:
        kept = [head.name for head in potential.config.heads]
        potential = potential.with_new_head(member, kept)
    names = tuple(member.name for member in members)
    heads = [
        replace(head, committee=names, committee_scale=scale) if head.name == first.name else head
        for head in potential.config.heads
    ]
    potential = potential.with_config(potential.config.with_heads(heads, first.name))
    save_model(target, potential, loaded.card)
    return target
