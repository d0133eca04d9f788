"""Small files in the layouts of Matbench, QMOF and PDBBind: crystals and complexes with one value each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

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
