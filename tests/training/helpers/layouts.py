"""Small files in the real layouts of the public data sets, with the energies and forces that they mean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

HARTREE, KCAL_MOL, BOHR = 27.211386245988, 0.0433641153087705, 0.529177210903


@dataclass(frozen=True, eq=False)
class Springs:
    """A molecule of harmonic pairs: total energy eV and forces eV/Å that are exactly its slope."""

    numbers: np.ndarray
    start: np.ndarray
    offset: float
    """eV"""
    stiffness: float = 5.0
    """eV/Å²"""

    def energy(self, positions: np.ndarray) -> float:
        """eV"""
        lengths, rest = _pairs(positions), _pairs(self.start)
        return self.offset + 0.5 * self.stiffness * float(((lengths - rest) ** 2).sum())

    def forces(self, positions: np.ndarray) -> np.ndarray:
        """(N, 3) eV/Å"""
        i, j = np.triu_indices(len(positions), 1)
        vector = positions[j] - positions[i]
        length = np.linalg.norm(vector, axis=1)
        pull = (self.stiffness * (length - _pairs(self.start)) / length)[:, None] * vector
        forces = np.zeros_like(positions)
        np.add.at(forces, i, pull)
        np.add.at(forces, j, -pull)
        return forces

    def trajectory(
        self, count: int, seed: int = 0, shake: float = 0.06
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions (M, N, 3), energies (M,), forces (M, N, 3)."""
        rng = np.random.default_rng(seed)
        positions = self.start + rng.normal(scale=shake, size=(count, *self.start.shape))
        return (
            positions,
            np.array([self.energy(x) for x in positions]),
            np.stack([self.forces(x) for x in positions]),
        )


def _pairs(positions: np.ndarray) -> np.ndarray:
    i, j = np.triu_indices(len(positions), 1)
    return np.linalg.norm(positions[j] - positions[i], axis=1)


def methanol() -> Springs:
    """CH3OH."""
    from ase.build import molecule

    atoms = molecule("CH3OH")
    return Springs(atoms.numbers, atoms.positions, -3146.2)


def water() -> Springs:
    """H2O."""
    return Springs(
        np.array([8, 1, 1]), np.array([[0.0, 0.0, 0.12], [0.0, 0.76, -0.48], [0.0, -0.76, -0.48]]), -2078.0
    )


def write_rmd17(folder: Path, molecule: str, count: int, springs: Springs | None = None) -> Springs:
    """``rmd17/npz_data/rmd17_<molecule>.npz`` and the five pairs of split files."""
    springs = springs or methanol()
    positions, energies, forces = springs.trajectory(count)
    data = folder / "rmd17" / "npz_data"
    data.mkdir(parents=True)
    np.savez_compressed(
        data / f"rmd17_{molecule}.npz",
        nuclear_charges=springs.numbers.astype(np.uint8),
        coords=positions,
        energies=energies / KCAL_MOL,
        forces=forces / KCAL_MOL,
        old_indices=np.arange(count),
        old_energies=np.zeros(count),
        old_forces=np.zeros_like(forces),
    )
    splits = folder / "rmd17" / "splits"
    splits.mkdir()
    for k in range(1, 6):
        order = np.random.default_rng(k).permutation(count)
        for name, part in (("train", order[: count // 2]), ("test", order[count // 2 :])):
            (splits / f"index_{name}_0{k}.csv").write_text("".join(f"{i}\n" for i in part))
    return springs


def write_md22(path: Path, count: int, *, e_unit: str = "kcal/mol", r_unit: str = "Ang") -> Springs:
    """One sGDML archive with all its members, two of them object arrays as published."""
    springs = methanol()
    positions, energies, forces = springs.trajectory(count)
    energy = energies[:, None] / KCAL_MOL
    np.savez_compressed(
        path,
        z=springs.numbers,
        R=positions,
        E=energy,
        F=forces / KCAL_MOL,
        name="toy",
        theory="PBE+MBD",
        e_unit=e_unit,
        r_unit=r_unit,
        md5="0" * 32,
        type="d",
        code_version="0.5",
        perms=np.array([[0, 1]]),
        E_min=energy.min(),
        E_max=energy.max(),
        E_mean=energy.mean(),
        E_var=energy.var(),
        F_min=0.0,
        F_max=1.0,
        F_mean=0.0,
        F_var=1.0,
        extra=np.array([{"needs": "pickle"}], dtype=object),
    )
    return springs


# ---- QM9
# ----------------------------------------------------------------------------------------------------------

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


# ---- crystals
# -----------------------------------------------------------------------------------------------------

Json = dict[str, object]


def crystal(
    rng: np.random.Generator, count: int, *, label: bool = False
) -> tuple[Json, np.ndarray, np.ndarray]:
    """A pymatgen Structure dictionary of ``count`` atoms with its positions and cell."""
    cell = 4.0 * np.eye(3) + rng.normal(scale=0.1, size=(3, 3))
    fractions = (np.arange(count)[:, None] + 0.1) / count * np.ones(3)
    symbols = [("Cu", "O", "Zn")[i % 3] for i in range(count)]
    sites = [
        {
            "species": [{"element": s, "occu": 1}],
            "abc": f.tolist(),
            "xyz": (f @ cell).tolist(),
            "label": f"{s}{i + 1}" if label else s,
            "properties": {},
        }
        for i, (s, f) in enumerate(zip(symbols, fractions))
    ]
    data: Json = {
        "@module": "pymatgen.core.structure",
        "@class": "Structure",
        "charge": None,
        "lattice": {
            "matrix": cell.tolist(),
            "a": 4.0,
            "b": 4.0,
            "c": 4.0,
            "volume": float(np.linalg.det(cell)),
        },
        "sites": sites,
    }
    return data, fractions @ cell, cell


def write_matbench(
    folder: Path, task: str, column: str, count: int, values: list[object] | None = None
) -> list[Json]:
    """``matbench_<task>.json.gz`` with crystals of one to three atoms."""
    import gzip
    import json

    rng = np.random.default_rng(0)
    structures = [crystal(rng, 1 + i % 3)[0] for i in range(count)]
    values = values or [0.5 * i for i in range(count)]
    table = {
        "index": list(range(count)),
        "columns": ["structure", column],
        "data": [[s, v] for s, v in zip(structures, values)],
    }
    with gzip.open(folder / f"matbench_{task}.json.gz", "wt", encoding="utf-8") as file:
        json.dump(table, file)
    return structures


def write_matbench_folds(folder: Path, task: str, names: list[str]) -> dict[str, dict[str, list[str]]]:
    """``matbench_v0.1_validation.json``: fold i tests every fifth row from i on, in reverse order."""
    import json

    folds = {}
    for i in range(5):
        test = names[i::5][::-1]
        folds[f"fold_{i}"] = {"train": [n for n in names if n not in test], "test": test}
    (folder / "matbench_v0.1_validation.json").write_text(json.dumps({"splits": {f"matbench_{task}": folds}}))
    return folds


def write_qmof(folder: Path, count: int) -> list[np.ndarray]:
    """The two lists in different order, elements labelled with numbers, row 3 without a band gap; positions
    by row."""
    import json

    rng = np.random.default_rng(1)
    made = [crystal(rng, 4, label=True) for _ in range(count)]
    properties = [
        {
            "qmof_id": f"qmof-{i:04d}",
            "name": f"mof{i}",
            "info": {"formula": "X", "natoms": 4},
            "outputs": {"pbe": {"bandgap": None if i == 3 else 0.1 * i, "energy_total": -100.0}},
        }
        for i in range(count)
    ]
    structures = [
        {"qmof_id": f"qmof-{i:04d}", "name": f"mof{i}", "structure": made[i][0]} for i in range(count)
    ]
    folder.mkdir(exist_ok=True)
    (folder / "qmof.json").write_text(json.dumps(properties))
    (folder / "qmof_structure_data.json").write_text(json.dumps(structures[::-1]))
    return [positions for _, positions, _ in made]


def write_pdbbind(folder: Path, names: list[str]) -> None:
    """Table, ligands of six atoms, pockets of twelve lines with a zinc, a water and an alternate location."""
    lines = ["pdb_id,label", *(f"{name},{4.5 + i}" for i, name in enumerate(names))]
    (folder / "pdbbind_v2013_core.csv").write_text("\n".join(lines) + "\n")
    for name in names:
        where = folder / "v2013-core" / name
        where.mkdir(parents=True)
        symbols = ("C", "C", "O", "Cl", "H", "H")
        atoms = [f"{1.5 * i:10.4f}{0.0:10.4f}{0.1 * i:10.4f} {s:<3} 0  0  0" for i, s in enumerate(symbols)]
        ligand = [name, "", "", "  6  5  0  0  0  0  0  0  0  0999 V2000", *atoms, "M  END", "$$$$", ""]
        (where / f"{name}_ligand.sdf").write_text("\n".join(ligand))
        rows = [_pdb("ATOM", i, " CA ", " ", "ALA", i, (0.0, 5.0 + 2 * i, 0.0), 1.0, " C") for i in range(8)]
        rows += [
            _pdb("ATOM", 8, " CB ", "A", "SER", 20, (5.0, 5.0, 5.0), 0.4, " C"),
            _pdb("ATOM", 9, " CB ", "B", "SER", 20, (5.0, 5.0, 5.2), 0.6, " C"),
            _pdb("HETATM", 10, "ZN  ", " ", " ZN", 30, (9.0, 9.0, 9.0), 1.0, "ZN"),
            _pdb("HETATM", 11, " O  ", " ", "HOH", 40, (12.0, 9.0, 9.0), 1.0, " O"),
        ]
        (where / f"{name}_pocket.pdb").write_text(
            "\n".join(["HEADER    POCKET", *rows, "ENDMDL", rows[0], "END", ""])
        )


def _pdb(
    record: str,
    serial: int,
    name: str,
    alternate: str,
    residue: str,
    number: int,
    x: tuple[float, float, float],
    occupancy: float,
    element: str,
) -> str:
    place = f"{record:<6}{serial:5d} {name}{alternate}{residue} A{number:4d}    "
    return f"{place}{x[0]:8.3f}{x[1]:8.3f}{x[2]:8.3f}{occupancy:6.2f}{10.0:6.2f}          {element}"
