"""Structures and networks of the speed and memory benchmarks: everything is built, nothing is downloaded.

    python benchmarks/systems.py          lists them

Molecules (ethanol, aspirin, the peptide Ac-Ala5-NHMe of 62 atoms) are MMFF94 geometries that RDKit made from
SMILES (CCO, CC(=O)Oc1ccccc1C(=O)O, CC(=O)NC(C)C(=O)...NC), kept in benchmarks/structures because RDKit is no
dependency. The others are built by ASE. All are rattled by 0.03 Å, so that nothing is symmetric.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule, nanotube
from ase.io import read

HERE = Path(__file__).parent
MOLECULES = ("ethanol", "aspirin", "ac-ala5-nhme")


def structure(name: str) -> Atoms:
    """A molecule by name, ``Si64``, ``Cu256`` (any number 4 n³), ``water192`` (any number 3 n³) or
    ``nanotube370``."""
    if name in MOLECULES:
        atoms = read(HERE / "structures" / f"{name}.xyz")
    elif name == "Si64":
        atoms = bulk("Si", cubic=True) * (2, 2, 2)
    elif name.startswith("Cu"):
        atoms = bulk("Cu", cubic=True) * repeats(name, "Cu", 4)
    elif name.startswith("water"):
        atoms = water(repeats(name, "water", 3))
    elif name == "nanotube370":
        atoms = double_walled_nanotube()
    else:
        raise SystemExit(f"unknown structure {name}")
    atoms.rattle(0.03, seed=0)
    return atoms


def repeats(name: str, prefix: str, per_cell: int) -> tuple[int, int, int]:
    """Nearly cubic repeats (n1, n2, n3) whose product times ``per_cell`` is the number in the name."""
    cells, rest = divmod(int(name.removeprefix(prefix)), per_cell)
    options = [
        (i, j, cells // (i * j))
        for i in range(1, cells + 1)
        if cells % i == 0
        for j in range(i, cells // i + 1)
        if (cells // i) % j == 0 and cells // (i * j) >= j
    ]
    if rest or not options:
        raise SystemExit(f"{name} is no whole number of cells")
    return min(options, key=lambda shape: shape[2] - shape[0])


def water(shape: tuple[int, int, int]) -> Atoms:
    """Water molecules on a grid of density 1 g/cm³, randomly turned."""
    spacing, rng = 3.104, np.random.default_rng(0)
    liquid = Atoms(cell=np.array(shape) * spacing, pbc=True)
    for corner in np.ndindex(*shape):
        one = molecule("H2O")
        one.rotate(rng.uniform(0, 360), rng.normal(size=3))
        one.positions += spacing * (np.array(corner) + 0.5) - one.get_center_of_mass()
        liquid += one
    return liquid


def double_walled_nanotube() -> Atoms:
    """Coaxial (5, 0) and (14, 0) carbon tubes of 8 and 9 zigzag rows with hydrogen ends: C332H38, no cell."""
    tube = Atoms()
    for n, rows in ((5, 8), (14, 9)):
        wall = nanotube(n, 0, length=rows // 2 + 1)
        by_height = np.argsort(wall.positions[:, 2], kind="stable")
        wall = wall[by_height[n : n + 2 * n * rows]]  # ASE's cell begins in the middle of a row
        wall.set_cell(None)
        wall.pbc = False
        wall.positions -= wall.positions.mean(axis=0)
        tube += wall + end_hydrogens(wall)
    return tube


def end_hydrogens(wall: Atoms) -> Atoms:
    """Hydrogens 1.09 Å outside every carbon with two neighbours, along the tube axis."""
    distance = wall.get_all_distances()
    ends = np.flatnonzero(((distance < 1.7) & (distance > 0.1)).sum(axis=1) == 2)
    outwards = np.outer(np.sign(wall.positions[ends, 2]), [0.0, 0.0, 1.09])
    return Atoms(f"H{len(ends)}", wall.positions[ends] + outwards)


def network(name: str, folder: Path) -> str:
    """``jmp-xs``, or the path of a file of ``jmp-s`` or ``jmp-l`` with random weights, written on first use.

    Time and memory do not depend on the weights as long as values stay in range, and rounding is small only
    where slopes are: scale factors are fitted to two molecules and a crystal.
    """
    if name == "jmp-xs":
        return name
    from jmp_calc.graph.batch import collate
    from jmp_calc.graph.build import build_graph
    from jmp_calc.graph.policy import GraphPolicy
    from jmp_calc.model.config import JMP_L, JMP_S, HeadConfig, ModelConfig
    from jmp_calc.model.potential import Potential
    from jmp_calc.zoo.container import ModelCard, save_model

    path = folder / f"{name}-random.safetensors"
    if path.exists():
        return str(path)
    import torch

    torch.manual_seed(0)
    backbone = dataclasses.replace({"jmp-s": JMP_S, "jmp-l": JMP_L}[name], force_branch=False)
    head = HeadConfig("energy", hidden=backbone.emb_size_atom)
    potential = Potential(ModelConfig(backbone, GraphPolicy(), (head,), "energy"))
    policy = GraphPolicy("official", 8.0)
    systems = (structure("ethanol"), structure("aspirin"), bulk("Si", cubic=True))
    graphs = [build_graph(a.positions, a.numbers, a.cell.array, a.pbc, policy) for a in systems]
    potential.fit_scale_factors([collate([graph]) for graph in graphs])
    folder.mkdir(parents=True, exist_ok=True)
    save_model(path, potential, ModelCard(name=f"{name}, random weights"))
    return str(path)


def covering_head(model: str, atoms: Atoms) -> str:
    """The first head that knows all elements of a structure; the time does not depend on it."""
    from jmp_calc.zoo.container import describe_model
    from jmp_calc.zoo.names import locate

    heads = describe_model(locate(model).path).config.heads
    return next(h.name for h in heads if h.elements is None or set(atoms.numbers.tolist()) <= set(h.elements))


if __name__ == "__main__":
    for known in (*MOLECULES, "Si64", "Cu256", "Cu1008", "water192", "nanotube370"):
        print(known, structure(known))
