"""compile=True: the results of the network, one compilation for all structures, and the network itself where that fails."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
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
from jmp_calc.graph.policies import smooth_for_official

Compiler = Callable[..., Callable[..., list[torch.Tensor]]]


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[torch.fx.GraphModule]:
    """The traced graphs; they stand for their programs, so that tests need no compiler and no minutes."""
    graphs: list[torch.fx.GraphModule] = []

    def as_traced(graph: torch.fx.GraphModule, inputs: list[Any], options: dict[str, Any]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    monkeypatch.setattr("torch._inductor.compile", as_traced)
    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", lambda: "c++")
    return graphs


def crystal() -> Atoms:
    """One element: the number of lone atoms is 1."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=0)
    return atoms


def structures() -> list[Atoms]:
    water = molecule("H2O", vacuum=2.0, pbc=(True, False, True))
    salt = bulk("NaCl", "rocksalt", a=5.6) * (2, 1, 1)
    salt.rattle(0.05, seed=2)
    return [molecule("CH3CH2OH"), water, salt, crystal()]


def assert_equal(path: Path, found: JMPCalculator, expected: JMPCalculator, tolerance: float, atoms: Atoms) -> None:
    properties = ["energy", "forces"] + ["stress"] * (atoms.pbc.all() and expected.parameters["forces"] == "conservative")
    for calculator in (found, expected):
        calculator.calculate(atoms, properties)
    assert found.results.keys() == expected.results.keys()
    for name, value in expected.results.items():
        np.testing.assert_allclose(found.results[name], value, rtol=0, atol=tolerance, err_msg=f"{name} of {atoms}")


@pytest.mark.parametrize("forces", ["conservative", "direct"])
@pytest.mark.parametrize("model", ["smooth", "official", "adaptive"])
def test_one_traced_graph_gives_the_results_of_the_network_for_all_structures(
    make_model, compilations: list[Any], model: str, forces: str
) -> None:
    from .conftest import CHON, OFFICIAL, SMOOTH

    policy = {"smooth": SMOOTH, "official": OFFICIAL, "adaptive": smooth_for_official(5.0, 8)}[model]
    head = CHON if forces == "direct" else None
    path = make_model(policy=policy, **({"heads": (head,)} if head else {}))
    arguments = {"device": "cpu", "dtype": "float64", "forces": forces}
    compiled, eager = JMPCalculator(path, compile=True, **arguments), JMPCalculator(path, **arguments)
    for atoms in structures()[: 2 if head else None]:
        assert_equal(path, compiled, eager, 1e-10, atoms)
    assert len(compilations) == 1


def test_dynamics_with_changing_numbers_of_edges_compiles_once(model_path: Path, compilations: list[Any]) -> None:
    def trajectory(calc: JMPCalculator) -> tuple[np.ndarray, set[int]]:
        atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
        atoms.rattle(0.1, seed=0)
        atoms.calc = calc
        atoms.set_momenta(np.random.default_rng(0).normal(size=(8, 3)) * np.sqrt(0.1 * atoms.get_masses())[:, None])
        dynamics = NPTBerendsen(atoms, 2.0 * units.fs, temperature_K=800.0, pressure_au=0.0, taut=50.0 * units.fs,
                                taup=100.0 * units.fs, compressibility_au=1e-2 / units.GPa)
        edges: set[int] = set()
        dynamics.attach(lambda: edges.add(calc.build_graph(atoms).n_edges))
        dynamics.run(10)
        return np.concatenate([atoms.positions, atoms.cell.array]), edges

    found, edges = trajectory(JMPCalculator(model_path, device="cpu", dtype="float64", compile=True))
    expected, _ = trajectory(JMPCalculator(model_path, device="cpu", dtype="float64"))
    assert len(edges) > 3
    assert len(compilations) == 1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_structures_that_no_program_serves_are_evaluated_by_the_network(
    model_path: Path, compilations: list[Any], calc: JMPCalculator
) -> None:
    compiled = JMPCalculator(model_path, device="cpu", dtype="float64", compile=True)
    for atoms in (Atoms("O"), molecule("O2")):
        assert compiled.get_potential_energy(atoms) == calc.get_potential_energy(atoms)
    assert not compilations
    many = [molecule("H2O"), molecule("NH3")]
    assert [r["energy"] for r in compiled.batch(many)] == [r["energy"] for r in calc.batch(many)]
    assert not compilations


def test_the_network_is_asked_again_for_structures_of_other_sizes_only(
    model_path: Path, compilations: list[Any], ethanol: Atoms
) -> None:
    compiled = JMPCalculator(model_path, device="cpu", dtype="float64", compile=True)
    compiled.get_forces(ethanol)
    checks: list[int] = []
    evaluation = compiled._evaluator._compiled
    assert evaluation is not None
    network = evaluation._network
    evaluation._network = lambda batch: (checks.append(batch.n_atoms), network(batch))[1]
    ethanol.rattle(1e-4, seed=3)
    compiled.get_forces(ethanol)
    assert checks == []
    compiled.get_forces(crystal())
    assert checks == [4]


def test_a_program_that_differs_is_not_used(
    model_path: Path, calc: JMPCalculator, ethanol: Atoms, monkeypatch: pytest.MonkeyPatch, compilations: list[Any]
) -> None:
    def wrong(graph: torch.fx.GraphModule, *_: Any, **__: Any) -> Callable[..., list[torch.Tensor]]:
        return lambda *tensors: [value + 1e-4 for value in graph(*tensors)]

    monkeypatch.setattr("torch._inductor.compile", wrong)
    compiled = JMPCalculator(model_path, device="cpu", dtype="float64", compile=True)
    with pytest.warns(JMPWarning, match=r"compile=True has no effect: its results differ by 1\.0e-04"):
        forces = compiled.get_forces(ethanol)
    assert np.array_equal(forces, calc.get_forces(ethanol))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled.get_forces(molecule("CH4"))


def test_a_compiler_that_fails_is_reported_once(
    model_path: Path, calc: JMPCalculator, ethanol: Atoms, monkeypatch: pytest.MonkeyPatch, compilations: list[Any]
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise RuntimeError("g++: internal compiler error\nmany more lines")

    monkeypatch.setattr("torch._inductor.compile", failing)
    compiled = JMPCalculator(model_path, device="cpu", dtype="float64", compile=True)
    with pytest.warns(JMPWarning, match=r"compile=True has no effect: RuntimeError: g\+\+: internal compiler error$"):
        assert np.array_equal(compiled.get_forces(ethanol), calc.get_forces(ethanol))


def test_without_a_compiler_the_network_is_used_and_the_user_is_told(model_path: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from ase.build import molecule; from jmp_calc import JMPCalculator\n"
        "atoms = molecule('CH4')\n"
        "a, b = (JMPCalculator(sys.argv[1], device='cpu', compile=c).get_forces(atoms) for c in (True, False))\n"
        "assert (a == b).all()\n"
    )
    environment = {**os.environ, "CXX": str(tmp_path / "no-compiler"), "PATH": str(tmp_path),
                   "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", program, str(model_path)], env=environment, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("compile=True has no effect") == 1, done.stderr


def test_copies_share_the_program_and_pickles_keep_the_choice(
    model_path: Path, compilations: list[Any], ethanol: Atoms
) -> None:
    compiled = JMPCalculator(model_path, device="cpu", compile=True)
    compiled.get_forces(ethanol)
    twin = copy.deepcopy(compiled)
    ethanol.rattle(0.01, seed=1)
    twin.get_forces(ethanol)
    assert len(compilations) == 1
    assert compiled.todict()["compile"] is True
    assert pickle.loads(pickle.dumps(compiled)).parameters["compile"] is True


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
def test_really_compiled_results_are_those_of_the_network(model_path: Path, dtype: str, tolerance: float) -> None:
    compiled, eager = (JMPCalculator(model_path, device="cpu", dtype=dtype, compile=choice) for choice in (True, False))
    for atoms in structures():  # a difference would also be a JMPWarning, which is an error in tests
        assert_equal(model_path, compiled, eager, tolerance, atoms)
