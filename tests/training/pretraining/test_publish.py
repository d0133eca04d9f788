"""What a pre-trained model file says of its heads."""

from __future__ import annotations

from jmp_calc.model.config import HeadConfig
from jmp_calc.training.pretraining.mixture import Mixture, MixtureHead, MixtureSet
from jmp_calc.training.pretraining.pack import PackedSet
from jmp_calc.training.pretraining.publish import with_references


def packed(name: str, references: dict[int, float]) -> PackedSet:
    return PackedSet(
        name,
        "h",
        weight=1.0,
        references=references,
        full_rank=True,
        force_rms=1.0,
        energy_std=1.0,
        n_train=2,
        n_valid=1,
        dropped={},
        licence="CC0",
        source="tests",
        citation="none",
        files=(),
    )


def test_the_zero_of_a_head_is_that_of_the_sets_whose_energies_are_trained_on() -> None:
    sets = MixtureSet("forces", "h", files=("a",), energy=False), MixtureSet("energies", "h", files=("b",))
    mixture = Mixture("m", sets, (MixtureHead("h", "PBE"),), "h")
    described = packed("forces", {29: -5.0}), packed("energies", {13: -1.0, 29: -2.0})
    head = with_references(HeadConfig("h"), mixture, described)
    assert head.references == {13: -1.0, 29: -2.0}
    assert head.elements == (13, 29)
