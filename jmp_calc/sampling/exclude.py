"""What must not be drawn: molecules by their graph, crystals by composition and prototype."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..bonding import SMALLEST, graph_name
from ..errors import BadInputError

if TYPE_CHECKING:
    from rdkit import Chem


NAMED = "hash:"
"""Before the name of a graph in a list of molecules."""


@dataclass(frozen=True)
class Excluded:
    """Graphs by the names of ``bonding``, and pairs of composition and prototype ("*": any)."""

    graphs: frozenset[str] = frozenset()
    crystals: frozenset[tuple[str, str]] = frozenset()

    def holds_graph(self, molecule: Chem.Mol) -> bool:
        """Whether a molecule, or one of the molecules in it, is excluded."""
        from rdkit import Chem

        if not self.graphs:
            return False
        return any(name_of(part) in self.graphs for part in Chem.GetMolFrags(molecule, asMols=True))

    def holds_crystal(self, composition: str, prototype: str) -> bool:
        """Whether a crystal is excluded."""
        return bool({(composition, prototype), (composition, "*")} & self.crystals)

    def holds_compound(self, composition: str) -> bool:
        """Whether a composition is excluded in any structure."""
        return composition in self._compounds

    @cached_property
    def _compounds(self) -> frozenset[str]:
        return frozenset(composition for composition, _ in self.crystals)


def name_of(molecule: Chem.Mol) -> str:
    """The name of one molecule by its elements and bonds: the same however bond orders and charges are
    drawn."""
    from rdkit import Chem

    full = Chem.AddHs(molecule)
    bonds = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in full.GetBonds()]
    return graph_name([atom.GetAtomicNum() for atom in full.GetAtoms()], bonds)


def names_of(graph: str) -> list[str]:
    """The names of the molecules of a sample, each once, from its SMILES; atoms and dimers have none."""
    from rdkit import Chem

    parts = [Chem.AddHs(Chem.MolFromSmiles(part)) for part in graph.split(".")]
    return sorted({name_of(part) for part in parts if part.GetNumAtoms() >= SMALLEST})


def excluded_molecules(path: Path) -> Excluded:
    """Graphs from a file with a SMILES, or the name of a graph as hash:NAME, at the beginning of each line;
    the rest of the line is a comment, and so is a line that begins with #.

    Raises:
        BadInputError: a line that is neither.
    """
    from rdkit import Chem

    from .rdkit_extra import quiet_rdkit

    found = set()
    with quiet_rdkit():
        for number, line in _lines(path):
            word = line.split()[0]
            if word.startswith(NAMED):
                found.add(word.removeprefix(NAMED))
                continue
            molecule = Chem.MolFromSmiles(word)
            if molecule is None:
                raise BadInputError(
                    f"Line {number} is no SMILES: {word[:60]}.",
                    where=str(path),
                    hint="write one molecule per line, its name after a blank",
                )
            found |= {name_of(part) for part in Chem.GetMolFrags(molecule, asMols=True)}
    return Excluded(graphs=frozenset(found))


def excluded_crystals(path: Path) -> Excluded:
    """Crystals from a file with a composition in each line, and a prototype behind it where only that one is
    meant.

    Raises:
        BadInputError: a line that is no composition.
    """
    from ase.formula import Formula

    found = set()
    for number, line in _lines(path):
        composition, *rest = line.split()
        try:
            reduced = str(Formula(composition, strict=True).reduce()[0].format("hill"))
        except ValueError as error:
            raise BadInputError(
                f"Line {number} is no composition: {composition[:60]}.",
                where=str(path),
                hint="write for instance: NaCl rocksalt",
            ) from error
        found.add((reduced, rest[0] if rest else "*"))
    return Excluded(crystals=frozenset(found))


def _lines(path: Path) -> Iterable[tuple[int, str]]:
    from ..io.files import check_file

    text = check_file(path).read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            yield number, line.strip()
