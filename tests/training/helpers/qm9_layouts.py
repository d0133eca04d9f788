"""Small files in the layouts in which QM9 is published: xyz, sdf and graphs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.training.helpers.layouts import HARTREE, KCAL_MOL

QM9_NAMES = (
    "A",
    "B",
    "C",
    "mu",
    "alpha",
    "homo",
    "lumo",
    "gap",
    "r2",
    "zpve",
    "u0",
    "u298",
    "h298",
    "g298",
    "cv",
    "u0_atom",
    "u298_atom",
    "h298_atom",
    "g298_atom",
)


@dataclass(frozen=True, eq=False)
class QM9Row:
    """One molecule with the numbers of the csv: hartree, and kcal/mol for the atomisation energies."""

    index: int
    symbols: tuple[str, ...]
    positions: np.ndarray
    values: dict[str, float]


def qm9_rows(more: int = 0) -> list[QM9Row]:
    """CH4, H2O, an uncharacterised molecule, HCN, C2H6, and ``more`` shaken ones of them."""
    from ase.build import molecule

    rng = np.random.default_rng(0)
    rows = []
    names = ((1, "CH4"), (3, "H2O"), (4, "H2O"), (5, "HCN"), (7, "C2H6"))
    for index, name in (*names, *((8 + i, names[i % 5][1]) for i in range(more))):
        atoms = molecule(name)
        if index > 7:
            atoms.rattle(0.05, seed=index)
        values = dict(zip(QM9_NAMES, np.round(rng.normal(size=19), 6).tolist()))
        values |= {"u0": -40.0 - index, "u0_atom": -395.0 - index}
        rows.append(QM9Row(index, tuple(atoms.get_chemical_symbols()), np.round(atoms.positions, 4), values))
    return rows


def write_uncharacterised(folder: Path, index: int = 4, count: int = 3054) -> None:
    """The published list: nine header lines, one row per molecule, a short trailer."""
    rows = [index, *range(200_000, 200_000 + count - 1)]
    head = [
        "=" * 40,
        "3054 structures of QM9 that failed",
        "the consistency check",
        *[""] * 4,
        "Index  InChI",
        "-" * 40,
    ]
    lines = [*head, *(f"  {k:6d}   C#C   InChI=1S/C2H2   0.31" for k in rows), "-" * 40, ""]
    (folder / "uncharacterized.txt").write_text("\n".join(lines))


def write_qm9_xyz(folder: Path, *, packed: bool = False) -> None:
    """One xyz file per molecule, or the archive of all; the last exponent as Mathematica writes it."""
    import io
    import tarfile

    texts = {}
    for row in qm9_rows():
        values = "\t".join(f"{row.values[name]:.9f}" for name in QM9_NAMES[:15])
        atoms = [
            f"{s}\t{x:.4f}\t{y:.4f}\t{z:.4f}\t0.1"
            for s, (x, y, z) in zip(row.symbols, row.positions.tolist())
        ]
        atoms[-1] = atoms[-1].replace("\t0.1", "\t1.2*^-6")
        text = "\n".join(
            [str(len(atoms)), f"gdb {row.index}\t{values}\t", *atoms, "100.0\t200.0", "C\tC", "InChI\tInChI"]
        )
        texts[f"dsgdb9nsd_{row.index:06d}.xyz"] = text + "\n"
    if not packed:
        for name, text in texts.items():
            (folder / name).write_text(text)
        return
    with tarfile.open(folder / "dsgdb9nsd.xyz.tar.bz2", "w:bz2") as archive:
        for name, text in texts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))


def write_qm9_sdf(folder: Path, more: int = 0) -> None:
    """gdb9.sdf and its csv, the csv in another order."""
    blocks = []
    for row in qm9_rows(more):
        atoms = [
            f"{x:10.4f}{y:10.4f}{z:10.4f} {s:<3} 0  0  0  0  0  0  0  0  0  0  0  0"
            for s, (x, y, z) in zip(row.symbols, row.positions.tolist())
        ]
        counts = f"{len(atoms):3d}  0  0  0  0  0  0  0  0  0999 V2000"
        blocks.append(
            "\n".join([f"gdb_{row.index}", " -OEChem-03231823243D", "", counts, *atoms, "M  END", "$$$$"])
        )
    (folder / "gdb9.sdf").write_text("\n".join(blocks) + "\n")
    lines = [",".join(("mol_id", *QM9_NAMES))]
    for row in reversed(qm9_rows(more)):
        lines.append(",".join([f"gdb_{row.index}", *(f"{row.values[name]:.9f}" for name in QM9_NAMES)]))
    (folder / "gdb9.sdf.csv").write_text("\n".join(lines) + "\n")


def qm9_converted(row: QM9Row) -> np.ndarray:
    """(19,) in the order and units of the graph form."""
    v = row.values
    names = ("homo", "lumo", "gap", None, "zpve", "u0", "u298", "h298", "g298")
    middle = [v["r2"] if name is None else v[name] * HARTREE for name in names]
    atom = [v[name] * KCAL_MOL for name in ("u0_atom", "u298_atom", "h298_atom", "g298_atom")]
    return np.array([v["mu"], v["alpha"], *middle, v["cv"], *atom, v["A"], v["B"], v["C"]])


def write_qm9_graphs(path: Path, *, old_form: bool = False) -> None:
    """A list of dicts of tensors, without the uncharacterised molecule, in either form of torch.save."""
    import torch
    from ase.data import atomic_numbers

    data = []
    for row in qm9_rows():
        if row.index == 4:
            continue
        data.append(
            {
                "name": f"gdb_{row.index}",
                "z": torch.tensor([atomic_numbers[s] for s in row.symbols]),
                "x": torch.zeros(len(row.symbols), 11),
                "pos": torch.tensor(row.positions, dtype=torch.float32),
                "edge_index": torch.zeros(2, 4, dtype=torch.long),
                "edge_attr": torch.zeros(4, 4),
                "y": torch.tensor(qm9_converted(row)[None], dtype=torch.float32),
                "idx": torch.tensor([row.index - 1]),
            }
        )
    torch.save(data, path, _use_new_zipfile_serialization=not old_form)
