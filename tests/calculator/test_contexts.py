"""Right answers under any caller's context: threads, forks, modes and dtypes of torch, interrupts, many
calls."""

from __future__ import annotations

import copy
import gc
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from jmp_calc.calculator import JMPCalculator
from jmp_calc.errors import UsageError
from tests.programs import run


def test_two_threads_get_their_own_answers(calc: JMPCalculator) -> None:
    structures = [molecule(name) for name in ("H2O", "CH4", "NH3", "CO2")]
    want = [copy.copy(calc).get_forces(atoms) for atoms in structures]
    wrong: list[str] = []

    def work(index: int) -> None:
        for _ in range(10):
            got = calc.get_forces(structures[index])
            if got.shape != want[index].shape or np.abs(got - want[index]).max() > 1e-10:
                wrong.append(structures[index].get_chemical_formula())

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_forked_process_computes_the_same(model_path: Path) -> None:
    code = f"""
import os, sys
from ase.build import molecule
from jmp_calc import JMPCalculator
calc = JMPCalculator({str(model_path)!r}, device="cpu")
atoms = molecule("H2O")
forces = calc.get_forces(atoms)
child = os.fork()
if child == 0:
    calc.reset()
    os._exit(0 if abs(calc.get_forces(atoms) - forces).max() < 1e-6 else 9)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = run([sys.executable, "-c", code], within_s=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_calculator_in_a_forked_process_says_what_to_do(model_path: Path) -> None:
    calc = JMPCalculator(model_path, device="cuda")
    calc.get_potential_energy(molecule("H2O"))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            calc.get_potential_energy(molecule("CH4"))
        except UsageError as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    assert b"cannot be used in a forked process" in os.read(reader, 1000)


@pytest.mark.slow
def test_memory_is_constant_over_many_calls(model_path: Path) -> None:
    calc = JMPCalculator(model_path, device="cpu")
    atoms = molecule("H2O")
    noise = np.random.default_rng(0)

    def run(calls: int) -> tuple[int, int]:
        for _ in range(calls):
            atoms.positions += noise.normal(size=(3, 3)) * 1e-4
            calc.get_forces(atoms)
        gc.collect()
        tensors = sum(1 for item in gc.get_objects() if type(item) is torch.Tensor)
        pages = (
            int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0
        )
        return tensors, pages * 4096

    warm = run(30)
    after = run(150)
    assert after[0] <= warm[0]
    assert after[1] - warm[1] < 16 * 2**20
    assert not any(
        parameter.requires_grad or parameter.grad is not None
        for parameter in calc.evaluator.potential.parameters()
    )


@pytest.mark.parametrize(
    "context",
    [
        torch.no_grad,
        torch.inference_mode,
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        torch.enable_grad,
    ],
    ids=["no_grad", "inference_mode", "autocast", "enable_grad"],
)
@pytest.mark.parametrize("built_inside", [False, True])
def test_right_inside_the_callers_context(
    model_path: Path, ethanol: Atoms, context, built_inside: bool
) -> None:
    plain = JMPCalculator(model_path, device="cpu")
    forces, energy = plain.get_forces(ethanol), plain.get_potential_energy(ethanol)
    calc = JMPCalculator(model_path, device="cpu")
    with context():
        calc = JMPCalculator(model_path, device="cpu") if built_inside else calc
        np.testing.assert_array_equal(calc.get_forces(ethanol), forces)
        assert calc.get_potential_energy(ethanol) == energy


@pytest.mark.capability("B3")
def test_default_dtype_of_another_library_changes_nothing(model_path: Path, ethanol: Atoms) -> None:
    forces = JMPCalculator(model_path, device="cpu").get_forces(ethanol)
    before = JMPCalculator(model_path, device="cpu")
    torch.set_default_dtype(torch.float64)
    try:
        np.testing.assert_array_equal(before.get_forces(ethanol), forces)
        np.testing.assert_array_equal(JMPCalculator(model_path, device="cpu").get_forces(ethanol), forces)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.capability("B2")
def test_two_models_of_different_dtype_in_one_process(make_model, ethanol: Atoms) -> None:
    first, second = make_model(seed=1), make_model(seed=2)
    alone = JMPCalculator(first, device="cpu", dtype="float32").get_forces(ethanol)
    single = JMPCalculator(first, device="cpu", dtype="float32")
    double = JMPCalculator(second, device="cpu", dtype="float64")
    other = double.get_forces(ethanol)
    np.testing.assert_array_equal(single.get_forces(ethanol), alone)
    np.testing.assert_array_equal(double.get_forces(ethanol), other)
    exact = JMPCalculator(first, device="cpu", dtype="float64").get_forces(ethanol)
    assert 0 < np.abs(exact - alone).max() < 1e-4 * max(1.0, np.abs(exact).max())


def test_interrupt_in_the_middle_leaves_the_next_call_right(calc: JMPCalculator, ethanol: Atoms) -> None:
    other = molecule("CH3CH2OH")
    want_old, want_new = copy.copy(calc).get_forces(ethanol), copy.copy(calc).get_forces(other)
    calc.get_forces(ethanol)
    block = calc.evaluator.potential.backbone.register_forward_hook(
        lambda *_: os.kill(os.getpid(), signal.SIGINT)
    )
    for call in (lambda: calc.get_forces(other), lambda: calc.calculate(other, ["forces"])):
        with pytest.raises(KeyboardInterrupt):
            call()
            time.sleep(1)
    block.remove()
    assert calc.calculation_required(other, ["forces"])
    np.testing.assert_array_equal(calc.get_forces(other), want_new)
    np.testing.assert_array_equal(calc.get_forces(ethanol), want_old)
