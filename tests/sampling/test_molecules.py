"""Molecules that a chemist accepts, in geometries that are worth a label."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from jmp_calc.sampling.draws import generator
from jmp_calc.sampling.run import SampleResult
from jmp_calc.sampling.sample import sample
from jmp_calc.sampling.settings import MOLECULE_ELEMENTS, MOLECULE_SHARES
from tests.sampling.conftest import NEEDS_RDKIT

pytestmark = NEEDS_RDKIT
VALENCES = {1: {1}, 5: {3}, 6: {4}, 7: {3, 4, 5}, 8: {2}, 9: {1}, 14: {4}, 15: {3, 5}, 16: {2, 4, 6}}
VALENCES |= {17: {1}, 35: {1}, 53: {1, 3}}
"""Sums of bond orders of neutral atoms; of charged ones RDKit judges."""


def test_five_hundred_graphs_keep_the_rules_of_valence() -> None:
    from rdkit import Chem

    from jmp_calc.sampling.graphs import GraphSource, canonical, n_atoms

    source, found = GraphSource(MOLECULE_ELEMENTS), []
    index = 0
    while len(found) < 500:
        graph = source.draw(generator(1, index), 4, 30)
        index += 1
        if graph is not None:
            found.append(canonical(graph))
            assert 4 <= n_atoms(graph) <= 30
    assert index < 600
    for smiles in found:
        molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))  # sanitizes
        assert Chem.GetFormalCharge(molecule) == 0
        for atom in molecule.GetAtoms():
            assert atom.GetNumRadicalElectrons() == 0, smiles
            if atom.GetFormalCharge() == 0:
                assert atom.GetTotalValence() in VALENCES[atom.GetAtomicNum()], smiles
    assert len(set(found)) > 400
    elements = Counter(a.GetAtomicNum() for s in found for a in Chem.MolFromSmiles(s).GetAtoms())
    assert set(elements) >= set(MOLECULE_ELEMENTS) - {1} and elements[6] > 0.5 * sum(elements.values())


@pytest.mark.parametrize(
    "smiles, accepted",
    [
        ("C1CC2CCC1C2", True),
        ("C1CCC2CCCCC2C1", True),
        ("c1ccc2CCCc2c1", True),
        ("C1=C2CCC(C1)C2", False),
        ("c1cc2ccc1CC2", False),
        ("C1CC#CC1", False),
        ("OOO", False),
        ("CN(Cl)C", False),
        ("C[CH2]", False),
        ("C[NH3+]", False),
    ],
)
def test_what_no_flask_holds_is_refused(smiles: str, accepted: bool) -> None:
    """Double bonds at bridgeheads, bent triple bonds, chains of oxygen, radicals and ions."""
    from rdkit import Chem

    from jmp_calc.sampling.graphs import is_acceptable

    assert is_acceptable(Chem.MolFromSmiles(smiles)) == accepted


def test_every_kind_has_its_share(molecules: SampleResult) -> None:
    total = sum(count for kind, count in molecules.kinds.items() if kind != "isolated")
    assert total + molecules.near_copies + molecules.missing == 150
    for kind, share in MOLECULE_SHARES.items():
        assert abs(molecules.kinds[kind] / total - share) < 0.03, kind
    assert molecules.kinds["isolated"] == len(MOLECULE_ELEMENTS)


def test_frames_say_what_they_are(molecules: SampleResult) -> None:
    from rdkit import Chem

    ids = [atoms.info["sample_id"] for atoms in molecules.frames]
    assert len(set(ids)) == len(ids)
    for atoms in molecules.frames:
        graph = Chem.AddHs(Chem.MolFromSmiles(atoms.info["graph"]))
        assert sorted(a.GetAtomicNum() for a in graph.GetAtoms()) == sorted(atoms.numbers)
        assert not atoms.pbc.any() and not atoms.cell.any()


def test_electrons_are_paired(molecules: SampleResult) -> None:
    assert all(
        atoms.numbers.sum() % 2 == 0
        for atoms in molecules.frames
        if atoms.info["sample_kind"] not in ("dimer", "isolated")
    )


def test_sizes_are_within_the_range(molecules: SampleResult) -> None:
    sizes = [len(a) for a in molecules.frames if a.info["sample_kind"] not in ("dimer", "isolated")]
    assert min(sizes) >= 3 and max(sizes) <= 24
    assert np.percentile(sizes, 20) < 12 < np.percentile(sizes, 80)


def test_conformers_have_the_bonds_of_their_graph(molecules: SampleResult) -> None:
    from rdkit import Chem

    from jmp_calc.bonding import molecule_names
    from jmp_calc.sampling.exclude import name_of

    wanted = [a for a in molecules.frames if a.info["sample_kind"] == "relaxed" and 5 not in a.numbers]
    right = [
        molecule_names(a.numbers, a.positions, a.cell.array, a.pbc)
        == [name_of(Chem.MolFromSmiles(a.info["graph"]))]
        for a in wanted
    ]
    assert np.mean(right) > 0.85  # force fields bring atoms of small rings near each other


@pytest.mark.parametrize("line", ["CCO ethanol", "hash:7479508dcd30b593", "C(O)C"])
def test_excluded_graphs_are_not_drawn(tmp_path, line: str) -> None:  # type: ignore[no-untyped-def]
    listed = tmp_path / "holdout.smi"
    listed.write_text(f"# hold-out\n{line}\n")
    settings = dict(count=40, atoms=(9, 9), elements="H C O".split(), shares={"path": 0, "dimer": 0})
    free, kept = sample("molecules", **settings), sample("molecules", exclude=listed, **settings)
    assert any("CCO" in a.info["graph"].split(".") for a in free.frames)
    assert not any("CCO" in a.info["graph"].split(".") for a in kept.frames)
    assert kept.refused["excluded"] > 0


def test_elements_can_be_chosen() -> None:
    found = sample("molecules", count=30, atoms=(6, 14), elements=("H", "C", "S"))
    assert {z for atoms in found.frames for z in atoms.numbers} == {1, 6, 16}
