"""Repulsion and binding energies by distance: where they end, and which head has which."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms

from jmp_calc.errors import ModelError
from jmp_calc.graph.batch import collate
from jmp_calc.graph.build import build_graph
from jmp_calc.model.config import HeadConfig, ModelConfig
from jmp_calc.model.potential import Potential
from jmp_calc.zoo.limits import check_config
from tests.physics.models import FIXED, SMALL

OLD = HeadConfig("old", hidden=8, num_layers=2, binding={1: -2.0, 8: -3.0})
NEW = replace(OLD, name="new", binding_gate="bonds", pairs={"H-O": 0.8, "O-O": 1.9})
OH = 0.31 + 0.66


def potential(*heads: HeadConfig, repulsion: bool = True) -> Potential:
    """Weights of zero in the heads: what is left are repulsion and binding."""
    backbone = replace(SMALL, quad_interaction=False, num_blocks=1)
    config = ModelConfig(backbone, FIXED, heads, subtract_lone_atom=True, pair_repulsion=repulsion)
    network = Potential(config).double()
    with torch.no_grad():
        for parameter in network.heads.parameters():
            parameter.zero_()
    return network


def dimer(symbols: str, distance: float) -> Atoms:
    return Atoms(symbols, [[0.1, 0.2, 0.3], [0.1 + 0.6 * distance, 0.2, 0.3 + 0.8 * distance]])


def energies(network: Potential, structures: list[Atoms], heads: str | list[str]) -> np.ndarray:
    graphs = [build_graph(a.positions, a.numbers, a.cell.array, a.pbc, FIXED) for a in structures]
    with torch.no_grad():
        return network(collate(graphs), heads=heads, forces="none").energy.numpy()


def test_no_repulsion_from_the_shortest_trained_distance_on() -> None:
    network = potential(replace(NEW, binding={}))
    at, below = energies(network, [dimer("OH", 0.8), dimer("OH", 0.7)], "new")
    assert at == 0.0
    assert below > 0.05


def test_a_pair_without_data_is_repelled_up_to_the_sum_of_the_covalent_radii() -> None:
    network = potential(replace(NEW, binding={}))
    at, below = energies(network, [dimer("HH", 0.6201), dimer("HH", 0.5)], "new")
    assert at == 0.0
    assert below > 0.5


def test_close_atoms_feel_the_whole_screened_repulsion() -> None:
    """Of both kinds of heads, so that below every fade they agree."""
    network = potential(replace(OLD, binding={}), replace(NEW, binding={}))
    close = [dimer("OH", 0.3), dimer("OO", 0.4)]
    assert energies(network, close, "new") == pytest.approx(energies(network, close, "old"), rel=1e-12)
    assert energies(network, close, "new").min() > 50.0


def test_every_structure_of_a_batch_has_the_repulsion_and_binding_of_its_own_head() -> None:
    third = replace(NEW, name="third", pairs={"H-O": 1.5}, binding={1: -1.0})
    network = potential(OLD, NEW, third)
    for structure in (dimer("OH", 0.55), dimer("OH", 1.1), dimer("OO", 1.4)):
        names = ["third", "old", "new", "new"]
        together = energies(network, [structure] * 4, names)
        alone = [energies(network, [structure], name)[0] for name in names]
        assert together == pytest.approx(alone, rel=1e-12, abs=1e-14)
    assert energies(network, [dimer("OH", 1.1)] * 2, ["new", "third"])[0] != pytest.approx(-1.0)


@pytest.mark.parametrize(("share", "bound"), [(0.9, 1.0), (1.2, 1.0), (1.8, 0.0), (2.5, 0.0)])
def test_the_binding_energy_is_whole_in_a_bond_and_gone_where_it_is_broken(
    share: float, bound: float
) -> None:
    network = potential(NEW, repulsion=False)
    assert energies(network, [dimer("OH", share * OH)], "new")[0] == pytest.approx(-5.0 * bound, abs=1e-9)


def test_pulling_an_atom_off_costs_its_binding_energy_where_the_bond_breaks() -> None:
    """Monotonous between 1.2 and 1.8 of the sum of radii, and steepest below twice the mean slope."""
    network = potential(NEW, repulsion=False)
    shares = np.linspace(1.15, 1.85, 71)
    curve = energies(network, [dimer("OH", share * OH) for share in shares], "new")
    slope = np.diff(curve) / np.diff(shares)
    assert (slope >= -1e-9).all()
    assert slope.max() < 2.05 * 5.0 / 0.6


def test_an_atom_that_keeps_another_bond_keeps_its_binding_energy() -> None:
    network = potential(NEW, repulsion=False)
    water = Atoms("OHH", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    pulled = water.copy()
    pulled.positions[1] = [3.0, 0, 0]
    whole, broken = energies(network, [water, pulled], "new")
    assert whole == pytest.approx(-7.0)
    assert broken == pytest.approx(-5.0)  # the hydrogen alone


def test_a_long_bond_fades_out_before_the_cutoff() -> None:
    """1.2 of the radii of two caesium atoms, 5.86 Å, is beyond the cutoff of 5 Å."""
    head = replace(NEW, binding={55: -1.0})
    near, far = energies(potential(head, repulsion=False), [dimer("CsCs", 4.0), dimer("CsCs", 4.9999)], "new")
    assert near == pytest.approx(-2.0)
    assert far == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("name", ["O-H", "H", "X-H", "H-C-O", "H-Q"])
def test_names_of_pairs_are_checked(name: str) -> None:
    config = potential(replace(NEW, name="bad", pairs=None)).config
    with pytest.raises(ModelError, match="not a pair"):
        check_config(replace(config, heads=(replace(NEW, pairs={name: 1.0}),)))
    with pytest.raises(ModelError, match="shortest distance of H-C"):
        check_config(replace(config, heads=(replace(NEW, pairs={"H-C": 0.0}),)))
