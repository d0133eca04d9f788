"""The names of all molecules and crystals that pre-training must not see, from the files that holdout.toml
names.

    python benchmarks/holdout_names.py DATA      writes training/pretraining/holdout_*.txt

Molecules by the graph of their bonds (jmp_calc/bonding.py), found at three lengths of a bond, so that a
stretched bond or a close contact in the file does not change what is left out; crystals by reduced formula and
space group. The molecules of rMD17 and MD22 come from the SMILES below, whose bonds RDKit reads.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import spglib

from jmp_calc.bonding import SMALLEST, bonds_of, graph_name, molecules
from jmp_calc.io.atomic import replacing
from jmp_calc.io.raw_frame import RawFrame
from jmp_calc.training.data.raw import read_raw
from jmp_calc.training.pretraining.compounds import formula_of, is_compound
from jmp_calc.training.pretraining.mixture import holdout_patterns

FOLDER = Path(__file__).parents[1] / "training" / "pretraining"
SCALES = (1.15, 1.25, 1.35)
LARGEST = 400
"""Atoms of a molecule; what is larger is a crystal or a framework."""
SMALL = 9
"""Atoms: smaller molecules of labelled files (water, methanol) are left out of what is sampled only; sets of the
recipe are about them."""
EVERYWHERE, SAMPLED = "everywhere", "sampled"
SYMPREC = 0.05
NAMED = {
    "3BPA": "O(Cc1ccccc1)c1cccnc1N",
    "acetylacetone": "CC(=O)CC(C)=O",
    "acetylacetone, enol": "CC(=O)C=C(C)O",
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "azobenzene": "c1ccccc1N=Nc1ccccc1",
    "benzene": "c1ccccc1",
    "ethanol": "CCO",
    "malonaldehyde": "O=CCC=O",
    "malonaldehyde, enol": "O=CC=CO",
    "naphthalene": "c1ccc2ccccc2c1",
    "paracetamol": "CC(=O)Nc1ccc(O)cc1",
    "salicylic acid": "OC(=O)c1ccccc1O",
    "toluene": "Cc1ccccc1",
    "uracil": "O=c1cc[nH]c(=O)[nH]1",
    "Ac-Ala3-NHMe": "CC(=O)NC(C)C(=O)NC(C)C(=O)NC(C)C(=O)NC",
    "docosahexaenoic acid": "CCC=CCC=CCC=CCC=CCC=CCC=CCCC(=O)O",
    "stachyose": "OCC1OC(OCC2OC(OCC3OC(OC4(CO)OC(CO)C(O)C4O)C(O)C(O)C3O)C(O)C(O)C2O)C(O)C(O)C1O",
    "adenine": "Nc1ncnc2[nH]cnc12",
    "thymine": "Cc1c[nH]c(=O)[nH]c1=O",
    "cytosine": "Nc1cc[nH]c(=O)n1",
    "guanine": "Nc1nc2[nH]cnc2c(=O)[nH]1",
}
"""Molecules that the rule names; AT-AT and AT-AT-CG-CG are four bases. The tweezers of the buckyball catcher (C60H28) and the
double-walled nanotube are larger than anything that is sampled; C60 is in a file."""


def main() -> None:
    """Write both lists."""
    data, patterns = Path(sys.argv[1]), holdout_patterns()
    names = dict.fromkeys(named(), EVERYWHERE)
    crystals: dict[tuple[str, str], str] = {}
    for reason in ("labelled", "same", "scalar"):
        for path in held_files(data, patterns[reason]):
            frames = read_raw(path).frames
            sizes, found = names_of(frames), crystals_of(frames, any_group=reason != "scalar")
            print(
                f"{path.name:35s} {reason:9s} {len(sizes):6d} molecules {len(found):6d} crystals", flush=True
            )
            for name, size in sizes.items():
                whole = reason != "scalar" and size >= SMALL
                names.setdefault(name, EVERYWHERE if whole else SAMPLED)
            crystals.update(dict.fromkeys(found, EVERYWHERE))
    write(FOLDER / "holdout_molecules.txt", [f"hash:{name} {where}" for name, where in sorted(names.items())])
    write(FOLDER / "holdout_crystals.txt", [f"{formula} {group}" for formula, group in sorted(crystals)])


def held_files(data: Path, patterns: Iterable[str]) -> Iterator[Path]:
    """Structure files of the folder that match."""
    for path in sorted(data.glob("*.xyz.gz")):
        if any(fnmatchcase(path.name.split(".")[0], pattern) for pattern in patterns):
            yield path


def named() -> Iterator[str]:
    """Names of the molecules of the rule."""
    from rdkit import Chem

    for smiles in NAMED.values():
        molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
        numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
        yield graph_name(numbers, [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in molecule.GetBonds()])


def names_of(frames: Iterable[RawFrame]) -> dict[str, int]:
    """Names of all molecules in frames, with their numbers of atoms; of periodic frames those of liquids."""
    found: dict[str, int] = {}
    for frame in frames:
        if frame.pbc.any() and not is_molecular(frame):
            continue
        graphs = {
            tuple(bonds_of(frame.numbers, frame.positions, frame.cell, frame.pbc, scale)) for scale in SCALES
        }
        for bonds in graphs:
            for part in molecules(len(frame.numbers), bonds):
                if SMALLEST <= len(part) <= LARGEST:
                    place = {atom: i for i, atom in enumerate(part)}
                    own = [(place[a], place[b]) for a, b in bonds if a in place]
                    found[graph_name(frame.numbers[part], own)] = len(part)
    return found


def crystals_of(frames: Iterable[RawFrame], *, any_group: bool) -> set[tuple[str, str]]:
    """Formula and space group of all compounds; where the atoms move, the formula alone."""
    found = set()
    for frame in frames:
        formula = formula_of(frame.numbers)
        if frame.pbc.all() and is_compound(formula) and not (any_group and is_molecular(frame)):
            found.add((formula, "*" if any_group else space_group(frame)))
    return found


def is_molecular(frame: RawFrame) -> bool:
    """Whether a periodic frame is a liquid or solid of small molecules, which count as such."""
    bonds = bonds_of(frame.numbers, frame.positions, frame.cell, frame.pbc)
    return all(SMALLEST <= len(part) < SMALL for part in molecules(len(frame.numbers), bonds)) and (
        len(frame.numbers) > SMALL
    )


def space_group(frame: RawFrame) -> str:
    """International number, as text."""
    scaled = np.linalg.solve(frame.cell.T, frame.positions.T).T
    data = spglib.get_symmetry_dataset((frame.cell, scaled, frame.numbers), symprec=SYMPREC)
    return "1" if data is None else str(data.number)


def write(path: Path, lines: list[str]) -> None:
    """One entry per line."""
    with replacing(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in ["# by benchmarks/holdout_names.py", *lines]))
    print(f"{path}: {len(lines)} lines")


if __name__ == "__main__":
    main()
