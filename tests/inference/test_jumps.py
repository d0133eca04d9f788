"""The energy jumps of the published graph rules are measured, warned about once, and absent from `smooth`."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from jmp_calc.calculator import JMPCalculator
from jmp_calc.errors import JMPWarning


@pytest.fixture
def cluster() -> Atoms:
    """Four molecules closer than the cutoff: ranks cut among nearly equal distances."""
    atoms = Atoms()
    for shift in ([0, 0, 0], [3, 0.2, 0], [0.1, 3.1, 0.2], [0, 0.1, 3.2]):
        part = molecule("CH3OH")
        part.translate(shift)
        atoms += part
    return atoms


def test_official_jumps_are_measured(official_path: Path, cluster: Atoms) -> None:
    calc = JMPCalculator(official_path, device="cpu", dtype="float64")
    before = cluster.positions.copy()
    report = calc.measured_jump(cluster, displacement=0.05)
    assert max(report.swapped_edges) > 0
    assert report.largest_ev > 1e-7
    np.testing.assert_array_equal(cluster.positions, before)
    assert calc.atoms is None, "measuring does not touch the caller's cache"
    assert calc.measured_jump(cluster, displacement=0.05) == report


def test_smooth_has_edges_that_come_and_go_without_a_jump(calc: JMPCalculator, cluster: Atoms) -> None:
    report = calc.measured_jump(cluster, displacement=0.05)
    assert max(report.swapped_edges) > 0
    assert report.largest_ev < 1e-9


def test_dynamics_with_official_graphs_warn_once_with_the_size(official_path: Path, cluster: Atoms) -> None:
    calc = JMPCalculator(official_path, device="cpu")
    with pytest.warns(
        JMPWarning, match=r"swaps up to \d+ neighbours, .* jump by up to .* meV.*jmp-calc finetune"
    ):
        calc.warn_if_not_smooth(cluster)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calc.warn_if_not_smooth(cluster)


def test_small_molecule_without_swaps_still_warns(official_path: Path) -> None:
    with pytest.warns(JMPWarning, match="none was met within"):
        JMPCalculator(official_path, device="cpu").warn_if_not_smooth(molecule("H2O"))


def test_smooth_never_warns(calc: JMPCalculator, cluster: Atoms) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calc.warn_if_not_smooth(cluster)
