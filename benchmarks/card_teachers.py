"""Values of the teachers that the model card compares with, in benchmarks/teachers/NAME.yaml.

    python benchmarks/card_teachers.py gfn2 --python ENV/bin/python
    python benchmarks/card_teachers.py ani2x --python ENV/bin/python --weights ani-2x.tar.xz
    python benchmarks/card_teachers.py nequix --python ENV/bin/python --weights nequix-oam-1.nqx

gfn2 and ani2x: molecules pulled apart, and minima of dimers; where the networks of ANI-2x disagree (by more than
0.25 eV/Å in the forces, as in pre-training) a value is null. nequix: energy against volume of the crystals, and their
phonons at its own volume; of dimers it takes six a second, so that heads of crystals may have one minimum per dimer.
The structures are those of the card; an environment of a teacher is described in docs/labelling.md. What was labelled
lies in --work, and is not asked again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from cards import bonds, crystals, dimers, vibrations
from cards.teacher_values import FOLDER, values
from rows import write_whole

from jmp_calc.io.structures import iter_frames
from jmp_calc.labelling.label import label
from jmp_calc.model.elements import SYMBOLS, pair_name
from jmp_calc.workflows.phonon import glue as phonopy_glue
from jmp_calc.workflows.phonon.phonons import displacements
from jmp_calc.workflows.phonon.settings import PhononSettings

MAX_SPREAD = 0.25
"""eV/Å; as in the recipe of jmp-xs."""
ELEMENTS = {"gfn2": "H B C N O F Si P S Cl Br I".split(), "ani2x": "H C N O F S Cl".split()}
CALCULATORS = {"gfn2": "tblite", "ani2x": "ani2x", "nequix": "nequix"}
ID = "sample_id"


@dataclass
class Asked:
    """Structures for a teacher, and its answers by their names."""

    frames: list[Atoms] = field(default_factory=list)
    answers: dict[str, Atoms] = field(default_factory=dict)

    def add(self, name: str, frames: Sequence[Atoms]) -> None:
        """The frames of one system."""
        for number, atoms in enumerate(frames):
            copy = atoms.copy()
            copy.info = {ID: f"{name}|{number}"}
            self.frames.append(copy)

    def ask(self, args: argparse.Namespace, work: Path) -> dict[str, str]:
        """Label all; method and version of the teacher."""
        result = label(
            self.frames,
            CALCULATORS[args.teacher],
            out=work,
            weights=args.weights,
            python=args.python,
            isolated=False,
            resume=True,
            quiet=False,
        )
        self.answers = {atoms.info[ID]: atoms for atoms in iter_frames(result.path)}
        print(f"{args.teacher}: {result.n_frames} labelled, left out: {dict(result.left_out)}")
        return {"method": result.facts.method, "version": result.facts.version}

    def energies(self, name: str, count: int) -> list[float | None]:
        """Energies of the frames of one system, eV; None where the teacher does not know."""
        return [self._energy(f"{name}|{number}") for number in range(count)]

    def _energy(self, name: str) -> float | None:
        atoms = self.answers.get(name)
        if atoms is None or atoms.info.get("forces_spread", 0.0) > MAX_SPREAD:
            return None
        return round(float(atoms.get_potential_energy()), 4)


class Labelled(Calculator):
    """Energies and forces of structures that were labelled before."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 (ASE's way)

    def __init__(self, frames: Sequence[Atoms]) -> None:
        super().__init__()
        self._known = {_key(atoms): atoms for atoms in frames}

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = None
    ) -> None:
        """Look the structure up; KeyError for one that was not labelled."""
        found = self._known[_key(atoms)]
        self.results = {"energy": found.get_potential_energy(), "forces": found.get_forces()}


def _key(atoms: Any) -> bytes:
    """What a structure is known by."""
    places = np.round(atoms.get_scaled_positions(), 5) % 1.0
    return bytes(np.round(np.column_stack([atoms.numbers, places]), 4).tobytes())


def molecules(args: argparse.Namespace) -> dict[str, Any]:
    """Bonds by a teacher of molecules."""
    asked = Asked()
    scans = {name: bonds.scan(name) for name in bonds.BONDS}
    for name, (_, frames) in scans.items():
        asked.add(name, frames)
    facts = asked.ask(args, args.work / f"{args.teacher}-bonds")
    curves = {
        name: {
            "lengths_a": [round(float(length), 4) for length in lengths],
            "energies_ev": asked.energies(name, len(frames)),
        }
        for name, (lengths, frames) in scans.items()
    }
    return {**facts, "bonds": curves}


def of_pairs(args: argparse.Namespace) -> dict[str, Any]:
    """Number of minima of the dimers of all pairs of the teacher's elements."""
    asked = Asked()
    numbers = sorted(SYMBOLS.index(symbol) for symbol in ELEMENTS[args.teacher])
    pairs = [pair_name(*pair) for pair in combinations_with_replacement(numbers, 2)]
    for pair in pairs:
        asked.add(pair, dimers.scan(pair)[1])
    asked.ask(args, args.work / f"{args.teacher}-dimers")
    found = {pair: asked.energies(pair, len(dimers.scan(pair)[0])) for pair in pairs}
    return {"dimers": {pair: dimers.count(energies) for pair, energies in found.items()}}


def volumes(args: argparse.Namespace) -> dict[str, Any]:
    """Energies of the crystals at all volumes."""
    asked, found = Asked(), {}
    for formula in crystals.crystals():
        asked.add(formula, crystals.scan(formula))
    facts = asked.ask(args, args.work / "nequix-volumes")
    for formula in crystals.crystals():
        n_atoms = len(crystals.primitive(formula))
        energies = asked.energies(formula, len(crystals.SCALES))
        found[formula] = {
            "energies_ev_per_atom": [None if e is None else round(e / n_atoms, 5) for e in energies]
        }
    return {**facts, "volumes": found}


def phonons(args: argparse.Namespace) -> dict[str, Any]:
    """Lowest and highest frequency of the crystals; the volumes are those of ``volumes``."""
    settings = PhononSettings(min_length=vibrations.LENGTH_A, relax=False, fmax=vibrations.FMAX)
    asked, starts = Asked(), {}
    for formula in vibrations.CRYSTALS:
        starts[formula] = vibrations.start(formula)
        phonon, box, _ = displacements(starts[formula], settings)
        asked.add(formula, [box, *phonopy_glue.ase_supercells(phonon, box)])
    asked.ask(args, args.work / "nequix-phonons")
    found = {}
    for formula, atoms in starts.items():
        atoms.calc = Labelled([a for name, a in asked.answers.items() if name.partition("|")[0] == formula])
        result = vibrations.phonons_of(atoms)
        found[formula] = {
            "lowest_thz": round(result.lowest_thz, 3),
            "highest_thz": round(float(result.frequencies_thz.max()), 3),
        }
    return {"phonons": found}


def write(name: str, content: dict[str, Any]) -> None:
    """The file of one teacher, whole or not at all."""
    whole = {"what": "values of a teacher for the model card; benchmarks/card_teachers.py", **content}
    write_whole(FOLDER / f"{name}.yaml", whole)
    values.cache_clear()


def main() -> None:
    """Ask one teacher."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("teacher", choices=list(CALCULATORS))
    parser.add_argument("--python", help="interpreter of the environment of the teacher")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/card_teachers"))
    args = parser.parse_args()
    if args.teacher == "nequix":
        content = volumes(args)
        write("nequix", content)
        write("nequix", content | phonons(args))
    else:
        write(args.teacher, molecules(args) | of_pairs(args))


if __name__ == "__main__":
    main()
