"""What a new head takes over from its old one, and where its lone atoms stand."""

from __future__ import annotations

import pytest

from jmp_calc.model.config import HeadConfig
from jmp_calc.training.finetuning.network import with_knowledge

FITTED = HeadConfig(
    "new",
    elements=(1, 8),
    references={1: -10.0, 8: -400.0},
    reference_kind="least_squares",
    pairs={"H-H": 1.5, "H-O": 0.95},
)


def test_fitted_references_rise_to_lone_atoms_by_the_cohesive_energies() -> None:
    head = with_knowledge(FITTED, None, lone_atoms=True)
    assert head.binding_gate == "bonds"
    for z in (1, 8):
        assert head.references[z] + head.binding[z] == pytest.approx(FITTED.references[z])
        assert head.references[z] > FITTED.references[z]


def test_isolated_atoms_stay_what_they_are() -> None:
    isolated = HeadConfig("new", elements=(1,), references={1: -13.6}, reference_kind="isolated_atoms")
    head = with_knowledge(isolated, None, lone_atoms=True)
    assert head.references == {1: -13.6}
    assert head.binding == {}


def test_the_binding_that_the_old_weights_belong_to_stays() -> None:
    old = HeadConfig("old", binding={1: -2.0, 8: -3.0, 6: -7.0}, binding_gate="envelope")
    head = with_knowledge(FITTED, old, lone_atoms=True)
    assert head.binding == {1: -2.0, 8: -3.0}
    assert head.binding_gate == "bonds"
    assert head.references == {1: -8.0, 8: -397.0}


def test_distances_that_the_old_head_knew_count_too() -> None:
    old = HeadConfig("old", pairs={"H-O": 0.7, "O-O": 1.2, "C-O": 1.0})
    assert with_knowledge(FITTED, old, lone_atoms=True).pairs == {"H-H": 1.5, "H-O": 0.7, "O-O": 1.2}
    unknown = HeadConfig("old", pairs=None)
    assert with_knowledge(FITTED, unknown, lone_atoms=True).pairs == FITTED.pairs


def test_networks_whose_lone_atoms_have_no_meaning_keep_fitted_references() -> None:
    head = with_knowledge(FITTED, None, lone_atoms=False)
    assert head.references == FITTED.references
    assert head.binding == {}
