"""One zero of energy per head: sets are not aligned one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from jmp_calc.errors import UsageError
from jmp_calc.training.data.cohesive import cohesive_energies
from jmp_calc.training.data.frame import Frame
from jmp_calc.training.pretraining.energies import Compositions, HeadEnergies, head_energies
from jmp_calc.training.pretraining.mixture import MixtureSet

NI, AL = 28, 13


def frames(numbers: Sequence[int], per_atom: Sequence[float]) -> list[Frame]:
    """Frames of one composition with these energies, eV/atom."""
    z = np.array(numbers)
    return [
        Frame(z, np.zeros((len(z), 3)), np.eye(3), np.ones(3, bool), e * len(z), None, None, "", "x", i)
        for i, e in enumerate(per_atom)
    ]


def head_of(
    sets: Mapping[str, list[Frame]],
    constant: Sequence[str] = (),
    isolated: Mapping[str, Mapping[int, float]] | None = None,
    *,
    lone_atoms: bool = True,
) -> HeadEnergies:
    items = [MixtureSet(name, "pbe", files=("x",), constant=name in constant) for name in sets]
    compositions = {name: Compositions.of(found) for name, found in sets.items()}
    atoms = {name: (isolated or {}).get(name, {}) for name in sets}
    return head_energies("pbe", items, compositions, atoms, lone_atoms=lone_atoms)


def test_a_hot_and_a_cold_set_of_one_crystal_keep_their_difference() -> None:
    """The reason for one fit: aligned one by one, the same crystal would have two energies."""
    cold, hot = frames([NI] * 4, [-5.78, -5.70]), frames([NI] * 4, [-5.781, -5.2, -5.0])
    found = head_of({"cold": cold, "hot": hot})
    mean = np.mean([-5.78, -5.70, -5.781, -5.2, -5.0])
    assert found.atoms[NI] + found.binding[NI] == pytest.approx(mean)
    assert found.constants == {}
    assert found.messages == ()


def test_lone_atoms_stand_the_cohesive_energy_above_fitted_means() -> None:
    found = head_of({"a": frames([NI, AL], [-4.0]) + frames([NI, NI, AL], [-4.5])})
    assert not found.isolated
    assert found.binding == {z: pytest.approx(-cohesive_energies()[z]) for z in (AL, NI)}


def test_isolated_atoms_of_any_set_of_the_head_are_its_references() -> None:
    sets = {"a": frames([NI] * 2, [-5.0, -4.8]), "b": frames([AL] * 4, [-3.0])}
    found = head_of(sets, isolated={"a": {NI: -0.5}, "b": {AL: -0.2, NI: -0.5}})
    assert found.isolated
    assert found.atoms == {AL: -0.2, NI: -0.5}
    assert found.binding == pytest.approx({AL: -2.8, NI: -4.4})


@pytest.mark.parametrize(
    ("atoms", "message"), [({NI: -0.5}, "there is none for Al"), ({NI: 900.0, AL: 900.0}, "zero of energy")]
)
def test_isolated_atoms_that_do_not_fit_are_told(atoms: dict[int, float], message: str) -> None:
    found = head_of({"a": frames([NI, AL], [-4.0])}, isolated={"a": atoms})
    assert not found.isolated
    assert message in found.messages[0]


def test_isolated_atoms_of_two_methods_under_one_head_are_refused() -> None:
    sets = {"a": frames([NI] * 2, [-5.0]), "b": frames([NI] * 4, [-5.1])}
    with pytest.raises(UsageError, match="different isolated atoms: Ni"):
        head_of(sets, isolated={"a": {NI: -0.5}, "b": {NI: -0.9}})


def test_a_constant_is_found_from_the_lowest_frames_and_not_from_means() -> None:
    """Another code, 0.4 eV/atom higher, whose frames are hotter too."""
    sets = {
        "a": frames([NI] * 4, [-5.78, -5.75]) + frames([AL] * 4, [-3.75, -3.7]),
        "other": frames([NI] * 16, [-5.38, -4.5, -4.4]) + frames([AL], [-3.35, -2.0]),
    }
    found = head_of(sets, constant=["other"])
    assert found.constants == {"other": pytest.approx({NI: 0.4, AL: 0.4})}
    plain = head_of({"a": sets["a"] + frames([NI] * 16, [-5.78, -4.9, -4.8]) + frames([AL], [-3.75, -2.4])})
    assert found.atoms == pytest.approx(plain.atoms)


def test_constants_are_those_of_the_elements_whose_pseudopotentials_differ() -> None:
    """As in sets of pure elements: Cu 0.43 eV/atom higher, Li not; sets are aligned one after the other."""
    sets = {
        "a": frames([NI] * 4, [-5.78]) + frames([3] * 2, [-1.9]),
        "b": frames([NI], [-5.35]) + frames([3], [-1.9]) + frames([AL] * 4, [-3.75]),
        "c": frames([AL], [-537.0]),
    }
    found = head_of(sets, constant=["b", "c"])
    assert found.constants["b"] == pytest.approx({NI: 0.43, 3: 0.0})
    assert found.constants["c"] == pytest.approx({AL: -533.25})
    assert found.atoms[AL] + found.binding[AL] == pytest.approx(-3.75)


@pytest.mark.parametrize("others", [frames([NI], [-5.0]), frames([AL] * 2, [-3.0]) + frames([NI], [-5.0])])
def test_a_constant_that_nothing_determines_is_refused(others: list[Frame]) -> None:
    sets = {"a": frames([NI, NI, AL], [-4.5]) + frames([AL], [-3.0]), "b": others}
    with pytest.raises(UsageError, match="shares no composition"):
        head_of(sets, constant=["b"])


def test_a_set_that_contradicts_its_head_is_told() -> None:
    found = head_of({"a": frames([NI] * 4, [-5.78]), "dnp": frames([NI] * 2, [-5.39])})
    assert any(message.startswith("dnp: its lowest energies are +0.390") for message in found.messages)


def test_networks_whose_lone_atoms_have_no_meaning_have_means_as_references() -> None:
    found = head_of({"a": frames([NI], [-5.0]), "b": frames([NI], [-5.1])}, lone_atoms=False)
    assert found.atoms == pytest.approx({NI: -5.05})
    assert found.binding == {}


def test_the_first_set_with_energies_has_the_zero_of_the_head() -> None:
    nothing = frames([NI], [float("inf")])
    found = head_of({"a": nothing, "b": frames([NI], [-5.0, -4.0])}, constant=["b"])
    assert found.constants == {"b": {}}
    assert found.atoms[NI] + found.binding[NI] == pytest.approx(-4.5)
