"""A new head has the right mean energies from its first step on, and lone atoms keep their references."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from jmp_calc.graph.batch import collate
from jmp_calc.graph.build import build_graph
from jmp_calc.model.potential import Potential
from jmp_calc.training.data.frame import Frame
from jmp_calc.training.finetuning.fitted_energies import missing_energies, with_fitted_energies
from tests.training.helpers.tiny import emt_frames, tiny_potential

CPU = torch.device("cpu")


def with_references(kind: str) -> Potential:
    potential = tiny_potential(dtype=torch.float64)
    head = dataclasses.replace(
        potential.config.heads[0], references={13: -1.0, 29: -2.0}, reference_kind=kind
    )
    return potential.with_config(dataclasses.replace(potential.config, heads=(head,)))


def energies(potential: Potential, frames: tuple[Frame, ...]) -> np.ndarray:
    graphs = [build_graph(f.positions, f.numbers, f.cell, f.pbc, potential.config.policy) for f in frames]
    return potential(collate(graphs), heads="old", forces="none").energy.detach().numpy()


def shifted(frames: tuple[Frame, ...], potential: Potential, per_atom: dict[int, float]) -> tuple[Frame, ...]:
    """The frames labelled by the network plus a constant per element."""
    return tuple(
        dataclasses.replace(frame, energy=float(energy) + sum(per_atom[int(z)] for z in frame.numbers))
        for frame, energy in zip(frames, energies(potential, frames))
    )


@pytest.mark.parametrize("kind", ["isolated_atoms", "least_squares"])
def test_constants_per_element_are_found_exactly(kind: str) -> None:
    potential = with_references(kind)
    frames = shifted(emt_frames(6), potential, {13: 3.0, 29: -4.0})
    fitted = with_fitted_energies(potential, "old", frames, CPU)
    assert energies(fitted, frames) == pytest.approx([f.energy for f in frames], abs=1e-8)
    head = fitted.config.head("old")
    if kind == "least_squares":
        assert head.references == pytest.approx({13: 2.0, 29: -6.0})
        assert head.binding == {}
    else:
        assert head.references == {13: -1.0, 29: -2.0}
        assert head.binding == pytest.approx({13: 3.0, 29: -4.0})


@pytest.mark.parametrize("kind", ["isolated_atoms", "least_squares"])
def test_a_second_fit_adds_to_the_first(kind: str) -> None:
    """As in training on forces only: a fit at the start, and one of the weights that are written."""
    potential = with_references(kind)
    first = with_fitted_energies(
        potential, "old", shifted(emt_frames(6), potential, {13: 3.0, 29: -4.0}), CPU
    )
    frames = shifted(emt_frames(6), potential, {13: 3.5, 29: -4.25})
    second = with_fitted_energies(first, "old", frames, CPU)
    assert energies(second, frames) == pytest.approx([f.energy for f in frames], abs=1e-8)


def test_an_isolated_atom_keeps_its_reference() -> None:
    potential = with_references("isolated_atoms")
    fitted = with_fitted_energies(
        potential, "old", shifted(emt_frames(6), potential, {13: 3.0, 29: -4.0}), CPU
    )
    atom = dataclasses.replace(
        emt_frames(1)[0],
        numbers=np.array([29]),
        positions=np.zeros((1, 3)),
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, bool),
    )
    assert energies(fitted, (atom,)) == pytest.approx([-2.0], abs=1e-12)


def test_one_composition_gives_the_smallest_solution() -> None:
    potential = with_references("isolated_atoms")
    frames = shifted(emt_frames(6)[1::2], potential, {13: 1.0, 29: 1.0})  # CuAl only: three Cu, one Al
    found = missing_energies(potential, "old", frames, CPU)
    assert found[29] == pytest.approx(3 * found[13])
    assert (3 * found[29] + found[13]) / 4 == pytest.approx(1.0)


def test_forces_of_bound_atoms_do_not_change() -> None:
    potential = with_references("isolated_atoms")
    frames = shifted(emt_frames(4), potential, {13: 3.0, 29: -4.0})
    fitted = with_fitted_energies(potential, "old", frames, CPU)
    batch = collate(
        [build_graph(f.positions, f.numbers, f.cell, f.pbc, potential.config.policy) for f in frames]
    )
    before, after = (p(batch, heads="old").forces for p in (potential, fitted))
    assert torch.allclose(before, after, atol=1e-10)
