"""``jmp_calc.estimate``: the edges are those of the calculator, the sums behave, and what does not fit is
said."""

from __future__ import annotations

import dataclasses
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from torch.utils.flop_counter import FlopCounterMode

from jmp_calc import JMPCalculator, estimate
from jmp_calc.errors import BadStructureError, ModelError, OutOfMemoryError, UsageError
from jmp_calc.graph.batch import collate
from jmp_calc.inference.estimate import CONSTANTS, Estimate, Work
from jmp_calc.machine.speed import Machine, probe_machine
from jmp_calc.model.config import JMP_L, JMP_S, JMP_XS, HeadConfig, ModelConfig
from jmp_calc.model.cost import GraphCounts, dense_flops
from jmp_calc.model.potential import Potential

SLOW = Machine(flops=1e9, bytes_per_s=1e9, read_bytes_per_s=1e9, layer_s=1e-4)


@pytest.fixture(autouse=True)
def _no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose speed is known; the probe has tests of its own."""
    monkeypatch.setattr("jmp_calc.inference.estimate.probe_machine", lambda device, dtype: SLOW)


@pytest.mark.parametrize("options", [{}, {"graph": "smooth"}], ids=str)
def test_edges_are_those_of_the_calculator(model_path: Path, ethanol: Atoms, options: dict) -> None:
    found = estimate(ethanol, model_path, device="cpu", **options)
    graph = JMPCalculator(model_path, device="cpu", **options).build_graph(ethanol)
    assert found.counted
    assert found.counts == GraphCounts.of(graph)
    assert (found.counts.main, found.counts.qint) == (len(graph.main), len(graph.qint))


def test_head_cutoff_and_neighbours_change_the_edges(
    official_path: Path, salt: Atoms, ethanol: Atoms
) -> None:
    all_edges = estimate(ethanol, official_path, device="cpu")
    few = estimate(ethanol, official_path, device="cpu", max_neighbors=3)
    near = estimate(ethanol, official_path, device="cpu", cutoff=2.0)
    assert all_edges.counts.main > few.counts.main
    assert all_edges.counts.a2a > near.counts.a2a


def test_an_estimate_is_printed_in_one_line(model_path: Path, ethanol: Atoms) -> None:
    found = estimate(ethanol, model_path, device="cpu")
    shown = repr(found)
    assert shown.startswith("Estimate('C2H6O', ") and f"head={found.head!r}" in shown
    assert "s/step on cpu" in shown and "GiB" in shown and "\n" not in shown
    assert "does not fit" in repr(dataclasses.replace(found, free_bytes=1))


def test_memory_is_what_the_calculator_would_refuse_by(model_path: Path, salt: Atoms) -> None:
    evaluator = JMPCalculator(model_path, device="cpu").evaluator
    found = estimate(salt, model_path, device="cpu")
    assert found.memory_bytes == evaluator.needed_bytes(found.counts, gradient=True)
    weights = sum(p.numel() for p in evaluator.potential.parameters())
    assert (
        found.weight_bytes > 2 * weights
    )  # float32; the embedding and combined weights are not dense layers


def test_everything_grows_with_the_structure(model_path: Path) -> None:
    sizes = [
        estimate(bulk("NaCl", "rocksalt", a=5.6, cubic=True) * (1, 1, n), model_path, device="cpu")
        for n in (1, 2, 4)
    ]
    for one, double in zip(sizes, sizes[1:]):
        assert double.counts.main == 2 * one.counts.main
        assert double.memory_bytes == pytest.approx(2 * one.memory_bytes)
        assert double.dense_flops > 1.8 * one.dense_flops
        assert one.seconds < double.seconds < 2 * one.seconds
        assert double.ns_per_day(1.0) < one.ns_per_day(1.0) == pytest.approx(0.5 * one.ns_per_day(2.0))


def test_larger_networks_and_higher_precision_cost_more() -> None:
    counts, head = GraphCounts(64, 1900, 3000, 1900, 512, 40, 60, 10), HeadConfig("energy")
    works = [Work.of(config, head, counts, "float32") for config in (JMP_XS, JMP_S, JMP_L)]
    seconds = [work.seconds(SLOW) for work in works]
    assert seconds == sorted(seconds)
    assert Work.of(JMP_S, head, counts, "float64").kept_bytes == 2 * works[1].kept_bytes
    assert Work.of(JMP_S, head, counts, "float32", direct=True).seconds(SLOW) < seconds[1]


def test_time_is_the_sum_of_its_terms() -> None:
    work = Work(dense_flops=2 * 10**9, kept_bytes=10**7, weight_bytes=10**6, layers=100.0)
    assert work.times(SLOW) == pytest.approx((2.0, 0.01, 0.001, 0.01))
    assert work.seconds(SLOW) == pytest.approx(float(np.dot(astuple(CONSTANTS), work.times(SLOW))))
    twice = Machine(2e9, 2e9, 2e9, 5e-5)
    assert work.seconds(twice) == pytest.approx(0.5 * work.seconds(SLOW))


def test_counted_layers_of_direct_forces_are_the_products_that_are_done(ethanol: Atoms) -> None:
    backbone = replace(JMP_XS, force_branch=True)
    head = HeadConfig("energy", hidden=64, direct_forces=True)
    potential = Potential(ModelConfig(backbone, estimate_policy(), (head,), "energy")).requires_grad_(False)
    graph = JMPCalculator("jmp-xs", device="cpu").build_graph(ethanol)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        potential(collate([graph]), heads="energy", forces="direct")
    done = sum(value for name, value in counter.get_flop_counts()["Global"].items() if "bmm" not in str(name))
    counted = dense_flops(backbone, head, GraphCounts.of(graph), derivatives=0, direct=True)
    assert counted < done < 1.15 * counted


def estimate_policy():
    return JMPCalculator("jmp-xs", device="cpu").model_config.policy


def test_what_does_not_fit_is_said_and_refused(
    model_path: Path, salt: Atoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jmp_calc.inference.estimate.free_memory", lambda device: 2**20)
    found = estimate(salt * (4, 4, 4), model_path, device="cpu")
    assert not found.fits
    assert found.atoms_that_fit is not None and found.atoms_that_fit < 128
    with pytest.raises(OutOfMemoryError, match=r"128 atoms with \d+ edges each need about .* is free"):
        found.require_fit()
    monkeypatch.setattr("jmp_calc.inference.estimate.free_memory", lambda device: 2**40)
    roomy = estimate(salt, model_path, device="cpu")
    assert roomy.fits
    roomy.require_fit()


def test_very_many_atoms_are_not_searched_when_they_would_not_fit_anyway(
    model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jmp_calc.inference.estimate.structure_graph", None)
    grid = np.stack(np.meshgrid(*[np.arange(47)] * 3), -1).reshape(-1, 3) * 0.9
    dense = Atoms(numbers=np.ones(len(grid)), positions=grid, cell=np.eye(3) * 47 * 0.9, pbc=True)
    found = estimate(dense, model_path, device="cpu")
    assert not found.counted
    assert not found.fits


def test_an_atom_without_edges_has_an_estimate(model_path: Path) -> None:
    found = estimate(Atoms("H"), model_path, device="cpu")
    assert found.counts.main == 0
    assert found.fits and found.atoms_that_fit is None
    assert found.seconds > 0


def test_nothing_is_loaded_and_nothing_is_changed(
    model_path: Path, ethanol: Atoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jmp_calc.zoo.names.load_model", None)
    before, threads = ethanol.copy(), torch.get_num_threads()
    assert isinstance(estimate(ethanol, model_path, device="cpu", threads=threads + 1), Estimate)
    assert ethanol == before
    assert torch.get_num_threads() == threads


def test_settings_that_cannot_be_meant(model_path: Path, ethanol: Atoms) -> None:
    with pytest.raises(UsageError, match="activation_checkpointing='ON' is not a choice"):
        estimate(ethanol, model_path, device="cpu", activation_checkpointing="ON")
    for threads in (0, 100_000):  # so many threads end the process
        with pytest.raises(UsageError, match=f"threads={threads} on"):
            estimate(ethanol, model_path, device="cpu", threads=threads)


def test_errors_are_those_of_the_calculator(model_path: Path, two_heads: Path) -> None:
    water = molecule("H2O")
    with pytest.raises(ModelError, match="Unknown model 'jmp-xl'"):
        estimate(water, "jmp-xl")
    with pytest.raises(ModelError, match="2 heads and no default"):
        estimate(water, two_heads)
    with pytest.raises(ModelError, match="was not trained on Cu"):
        estimate(bulk("Cu"), two_heads, head="organic")
    with pytest.raises(UsageError, match="Unknown dtype"):
        estimate(water, model_path, dtype="float16")
    with pytest.raises(BadStructureError, match="zero atoms"):
        estimate(Atoms(), model_path)


@pytest.mark.capability("B14")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_probe_gives_plausible_speeds(dtype: torch.dtype) -> None:
    with torch.inference_mode():
        found = probe_machine(torch.device("cpu"), dtype, repeats=1)
    assert 1e8 < found.flops < 1e15
    assert 1e8 < found.bytes_per_s < 1e13
    assert 1e8 < found.read_bytes_per_s < 1e13
    assert 1e-7 < found.layer_s < 1e-1
