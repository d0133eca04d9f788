"""Forked processes compute or say why they cannot; none of them waits for ever.

The test is a program of its own with two threads for torch, because the tests themselves run with one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.programs import environment, run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PROGRAM = """
import multiprocessing, os, sys, threading, time
import torch
from ase.build import bulk
from jmp_calc import JMPCalculator
from jmp_calc.errors import UsageError

MODEL = sys.argv[1]

def crystal():
    atoms = bulk("Si") * (2, 2, 2)
    atoms.calc = JMPCalculator(MODEL)
    return atoms

torch.set_num_threads(2)
torch.ones(10**6).sum()  # this wakes torch's threads

from concurrent.futures import ProcessPoolExecutor

used = crystal()
expected = used.get_potential_energy()

def own(_=0):
    atoms = crystal()
    torch.ones(10**6).sum()  # large enough for several threads
    return atoms.get_potential_energy(), float(abs(atoms.get_forces()).max()), torch.get_num_threads()

def inherited(_=0):
    atoms = used.copy()
    atoms.rattle(1e-3)
    atoms.calc = used.calc
    return atoms.get_potential_energy(), 0.0, torch.get_num_threads()

def several(_=0):
    torch.set_num_threads(2)
    try:
        crystal()
    except UsageError as error:
        return str(error)

context = multiprocessing.get_context("fork")
for work in (own, inherited):
    with context.Pool(1) if work is own else ProcessPoolExecutor(1, mp_context=context) as pool:
        found = list(pool.map(work, [0]))
    for energy, _, threads in found:
        assert abs(energy - expected) < 0.1 and threads == 1, found
with context.Pool(1) as pool:
    message = pool.apply(several)
assert "2 threads" in message and "spawn" in message, message
pid = os.fork()
if pid == 0:
    os._exit(0 if abs(own()[0] - expected) < 0.1 else 1)
assert os.waitpid(pid, 0)[1] == 0
assert torch.get_num_threads() == 2  # the parent keeps its threads
used.rattle(1e-3)
used.get_forces()
shared = used.repeat(4)  # seconds of work
shared.calc = used.calc
begun = threading.Event()

def compute():
    begun.set()
    shared.get_forces()

def child(queue):
    for atoms in (shared, None):
        try:
            (atoms or crystal()).get_potential_energy()
        except UsageError as error:
            queue.put(str(error))

thread = threading.Thread(target=compute)
thread.start()
begun.wait()
time.sleep(0.1)
context = multiprocessing.get_context("fork")
queue = context.Queue()
process = context.Process(target=child, args=(queue,), daemon=True)
process.start()
messages = [queue.get(timeout=30) for _ in range(2)]
process.join()
assert thread.is_alive()  # it was computing all the time
thread.join()
assert all("another thread" in text and "spawn" in text for text in messages), messages
process = context.Process(target=used.get_potential_energy)  # nothing is computed now
process.start()
process.join()
assert process.exitcode == 0
print("ended")
"""


def test_forked_processes_compute_or_say_why_not(model_path: Path) -> None:
    done = run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, model_path],
        env=environment(OMP_NUM_THREADS=None),
        within_s=150,
    )
    assert done.stdout.strip() == "ended", done.stderr
