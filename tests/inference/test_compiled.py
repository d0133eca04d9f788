"""compile=True: the results of the network, one compilation for all structures, and the network itself where
that fails."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.md.nptberendsen import NPTBerendsen

from jmp_calc import JMPCalculator
from jmp_calc.errors import JMPWarning
from jmp_calc.graph.batch import Batch
from jmp_calc.inference.compiled import CheckedSizes, Evaluation
from jmp_calc.model.potential import Prediction
from tests.inference.program_cases import assert_equal, structures

Graphs = list[torch.fx.GraphModule]


def without_compiler(patch: pytest.MonkeyPatch) -> Graphs:
    """From now on traced graphs stand for their programs: tests need no compiler and no minutes. They are
    collected."""
    graphs: Graphs = []

    def as_traced(
        graph: torch.fx.GraphModule, inputs: list[Any], options: dict[str, Any]
    ) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    patch.setattr("torch._inductor.compile", as_traced)
    patch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", lambda: "c++")
    return graphs


@pytest.fixture(scope="module")
def calc(simple_path: Path) -> JMPCalculator:
    """Eager."""
    return JMPCalculator(simple_path, device="cpu", dtype="float64")


@pytest.fixture(scope="module")
def traced(simple_path: Path) -> Iterator[tuple[JMPCalculator, Graphs]]:
    """A calculator with compile=True, and the graphs that it traced so far: tracing takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        graphs = without_compiler(patch)
        yield JMPCalculator(simple_path, device="cpu", dtype="float64", compile=True), graphs


@pytest.mark.capability("B4")
def test_one_traced_graph_gives_the_results_of_the_network_for_all_structures(
    traced: tuple[JMPCalculator, Graphs], calc: JMPCalculator
) -> None:
    compiled, graphs = traced
    for atoms in structures():
        assert_equal(compiled, calc, 1e-10, atoms)
    assert len(graphs) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "forces"),
    [
        ("model_path", "conservative"),
        ("official_path", "conservative"),
        ("official_path", "direct"),
    ],
)
def test_traced_graphs_of_networks_with_quadruplets(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, model: str, forces: str
) -> None:
    graphs = without_compiler(monkeypatch)
    path = request.getfixturevalue(model)
    compiled, eager = (
        JMPCalculator(path, device="cpu", dtype="float64", forces=forces, compile=choice)
        for choice in (True, False)
    )
    for atoms in structures()[: None if model == "model_path" else 2]:
        assert_equal(compiled, eager, 1e-10, atoms)
    assert len(graphs) == 1


def test_one_traced_graph_serves_batches_of_any_number_of_structures(
    simple_path: Path, calc: JMPCalculator, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs, many = without_compiler(monkeypatch), structures()
    compiled = JMPCalculator(simple_path, device="cpu", dtype="float64", compile=True)
    for together in (many, many[:2], [*many, *many[1:]], [molecule("H2O"), molecule("NH3")]):
        found, expected = (c.batch(together, ["energy", "forces"]) for c in (compiled, calc))
        for one, other in zip(found, expected, strict=True):
            assert one.keys() == other.keys()
            for name, value in other.items():
                np.testing.assert_allclose(one[name], value, rtol=0, atol=1e-9)
    assert len(graphs) == 1
    monkeypatch.setattr("jmp_calc.inference.compiled.EDGES_TOGETHER", 200)
    evaluation, batches = compiled.evaluator._compiled, list[int]()
    assert evaluation is not None
    program = evaluation._programs[True]

    def counted(tensors: list[torch.Tensor]) -> Any:
        batches.append(len(tensors[0]))
        return program.run(tensors)

    monkeypatch.setitem(evaluation._programs, True, replace(program, run=counted))
    compiled.batch([molecule("CH3CH2OH")] * 4, ["forces"])
    assert batches == [18, 18]  # 72 edges each: as many structures as a program is fast for
    assert len(graphs) == 1


def test_dynamics_with_changing_numbers_of_edges_compiles_once(
    traced: tuple[JMPCalculator, Graphs], calc: JMPCalculator
) -> None:
    def trajectory(calc: JMPCalculator) -> tuple[np.ndarray, set[int]]:
        atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
        atoms.rattle(0.1, seed=0)
        atoms.calc = calc
        atoms.set_momenta(np.random.default_rng(0).normal(size=(8, 3)) * np.sqrt(atoms.get_masses())[:, None])
        dynamics = NPTBerendsen(
            atoms,
            2.0 * units.fs,
            temperature_K=800.0,
            pressure_au=0.0,
            taut=50.0 * units.fs,
            taup=100.0 * units.fs,
            compressibility_au=1e-2 / units.GPa,
        )
        edges: set[int] = set()
        dynamics.attach(lambda: edges.add(calc.build_graph(atoms).n_edges))
        dynamics.run(20)
        return np.concatenate([atoms.positions, atoms.cell.array]), edges

    compiled, graphs = traced
    found, edges = trajectory(compiled)
    expected, _ = trajectory(calc)
    assert len(edges) > 3
    assert len(graphs) == 1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_structures_that_no_program_serves_are_evaluated_by_the_network(
    simple_path: Path, monkeypatch: pytest.MonkeyPatch, calc: JMPCalculator
) -> None:
    graphs = without_compiler(monkeypatch)
    compiled = JMPCalculator(simple_path, device="cpu", dtype="float64", compile=True)
    for atoms in (Atoms("O"), molecule("O2")):
        assert compiled.get_potential_energy(atoms) == calc.get_potential_energy(atoms)
    monkeypatch.setattr("jmp_calc.inference.compiled.LARGEST_EDGES", 10)
    assert compiled.get_potential_energy(molecule("CH4")) == calc.get_potential_energy(molecule("CH4"))
    many = [molecule("H2O"), molecule("NH3")]
    assert [r["energy"] for r in compiled.batch(many)] == [r["energy"] for r in calc.batch(many)]
    monkeypatch.undo()
    energies = [[r["energy"] for r in c.batch(many, ["energy"])] for c in (compiled, calc)]
    assert energies[0] == energies[1]  # a program would compute forces too
    assert not graphs


def test_the_network_is_asked_again_for_structures_of_other_sizes_only(
    traced: tuple[JMPCalculator, Graphs], monkeypatch: pytest.MonkeyPatch, ethanol: Atoms
) -> None:
    compiled, _ = traced
    compiled.get_forces(ethanol)
    evaluation = compiled.evaluator._compiled
    assert evaluation is not None
    network, checks = evaluation._network, []

    def counted(batch: Batch) -> Prediction:
        checks.append(batch.n_atoms)
        return network(batch)

    monkeypatch.setattr(evaluation, "_network", counted)
    ethanol.rattle(1e-4, seed=3)
    compiled.get_forces(ethanol)
    assert checks == []
    compiled.get_forces(bulk("Al", cubic=True) * (3, 2, 2))
    assert checks == [48]


def test_sizes_are_compared_at_every_power_of_two_of_each() -> None:
    checked = CheckedSizes()
    for sizes in ((9, 100), (20, 300)):
        assert not checked.cover(sizes)
        checked.add(sizes)
    assert checked.cover((15, 64)) and checked.cover((9, 300)), "each size has been of this power"
    assert not checked.cover((32, 100)) and not checked.cover((100, 9)), "places are told apart"


class WrongProgram:
    """Adds 1e-4 eV/Å to every force."""

    def __init__(self, network: Evaluation, batch: Batch) -> None:
        self.network = network

    def __call__(self, batch: Batch) -> Prediction:
        right = self.network(batch)
        assert right.forces is not None
        return replace(right, forces=right.forces + 1e-4)


class BrokenProgram:
    """Its compiler fails."""

    def __init__(self, network: Evaluation, batch: Batch) -> None:
        raise RuntimeError("g++: internal compiler error\nmany more lines")


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (WrongProgram, r"its results differ by \d\.\de-0\d from"),
        (BrokenProgram, r"RuntimeError: g\+\+: internal compiler error\.$"),
    ],
)
def test_a_wrong_or_broken_program_is_reported_once_and_not_used(
    simple_path: Path,
    calc: JMPCalculator,
    monkeypatch: pytest.MonkeyPatch,
    ethanol: Atoms,
    program: type,
    reason: str,
) -> None:
    monkeypatch.setattr("jmp_calc.inference.compiled.compiled_program", program)
    compiled = JMPCalculator(simple_path, device="cpu", dtype="float64", compile=True)
    with pytest.warns(JMPWarning, match="compile=True has no effect: " + reason):
        forces = compiled.get_forces(ethanol)
    assert np.array_equal(forces, calc.get_forces(ethanol))
    ethanol.rattle(0.01, seed=4)
    assert np.array_equal(compiled.get_forces(ethanol), calc.get_forces(ethanol))


def test_without_a_compiler_the_network_is_used_and_the_user_is_told(
    simple_path: Path, tmp_path: Path
) -> None:
    program = (
        "import sys; from ase.build import molecule; from jmp_calc import JMPCalculator\n"
        "atoms = molecule('CH4')\n"
        "a, b = (JMPCalculator(sys.argv[1], device='cpu', compile=c).get_forces(atoms) for c in (True, "
        "False))\n"
        "assert (a == b).all()\n"
    )
    environment = {
        **os.environ,
        "CXX": str(tmp_path / "no-compiler"),
        "PATH": str(tmp_path),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "-c", program, str(simple_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("compile=True has no effect") == 1, done.stderr


def test_copies_share_the_program_and_pickles_keep_the_choice(
    traced: tuple[JMPCalculator, Graphs], ethanol: Atoms
) -> None:
    compiled, graphs = traced
    compiled.get_forces(ethanol)
    ethanol.rattle(0.01, seed=1)
    copy.deepcopy(compiled).get_forces(ethanol)
    assert len(graphs) == 1
    assert compiled.todict()["compile"] is True
    assert pickle.loads(pickle.dumps(compiled)).parameters["compile"] is True


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance", "threads"), [("float64", 1e-10, 1), ("float32", 1e-5, 2)])
def test_really_compiled_results_are_those_of_the_network(
    simple_path: Path, dtype: str, tolerance: float, threads: int
) -> None:
    compiled, eager = (
        JMPCalculator(simple_path, device="cpu", dtype=dtype, compile=choice) for choice in (True, False)
    )
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for (
            atoms
        ) in structures():  # a program that is not used would be a JMPWarning, which is an error in tests
            assert_equal(compiled, eager, tolerance, atoms)
        large = bulk("Al", cubic=True) * (3, 3, 3)
        large.rattle(0.1, seed=5)
        assert_equal(compiled, eager, tolerance, large)
        repeated = [copy.copy(compiled) for _ in range(3)]
        for twin in repeated:  # bit for bit: sums over edges have one order
            twin.reset()
            assert np.array_equal(twin.get_forces(large), compiled.results["forces"])
    finally:
        torch.set_num_threads(before)
