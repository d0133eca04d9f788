"""The worker in another interpreter: it needs numpy and ASE, ends with its parent, and keeps its pipes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from jmp_calc.labelling.labels import Labels, Refusal, TeacherSpec, checked
from jmp_calc.labelling.pipe import answers_to_arrays, arrays_to_answers, arrays_to_frames, frames_to_arrays
from jmp_calc.labelling.process import Worker
from tests.programs import gone, started

BARE = """#!{python}
import builtins, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'click', 'yaml', 'filelock', 'matscipy', 'tqdm'):
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)
sys.meta_path.insert(0, Refuse())
code = sys.argv[2]
sys.argv = ['-c', *sys.argv[3:]]
exec(compile(code, '<string>', 'exec'))
"""


@pytest.fixture
def bare_python(tmp_path: Path) -> str:
    """An interpreter that has numpy and ASE, and nothing that jmp-calc needs besides."""
    path = tmp_path / "python"
    path.write_text(BARE.format(python=sys.executable))
    path.chmod(0o755)
    return str(path)


def test_another_interpreter_needs_numpy_and_ase_only(bare_python: str) -> None:
    with Worker(TeacherSpec("ase.calculators.emt:EMT"), python=bare_python, threads=1) as worker:
        assert worker.load().method == "emt"
        (labels,) = worker.label([bulk("Cu")], 60.0)
    assert isinstance(labels, Labels) and labels.stress is not None


def test_a_worker_ends_with_the_run_that_asked(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom jmp_calc.labelling.labels import TeacherSpec\n"
        "from jmp_calc.labelling.process import Worker\n"
        "worker = Worker(TeacherSpec('ase.calculators.emt:EMT'), python=None, threads=1)\nworker.load()\n"
        "print(worker._process.pid, flush=True)\ntime.sleep(600)\n"
    )
    with started([sys.executable, "-c", script]) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        run.kill()
        run.wait(60)
        assert gone(pid, within_s=10.0)  # by itself: nobody has killed the session yet


def test_structures_and_answers_come_through_the_pipe_as_they_are() -> None:
    frames = [bulk("NaCl", "rocksalt", a=5.6), Atoms("OH", [[0, 0, 0], [0, 0, 1]], info={"charge": -1})]
    frames[0].set_initial_magnetic_moments([1.0, 2.0])
    for given, got in zip(frames, arrays_to_frames(frames_to_arrays(frames))):
        assert (given.numbers == got.numbers).all() and (given.positions == got.positions).all()
        assert (given.cell.array == got.cell.array).all() and (given.pbc == got.pbc).all()
        assert got.info["charge"] == given.info.get("charge", 0)
    assert arrays_to_frames(frames_to_arrays(frames))[0].get_initial_magnetic_moments().tolist() == [1, 2]
    answers = [
        Labels(1.0, np.ones((2, 3)), np.arange(6.0)),
        Refusal("why", "timeout"),
        Labels(2.0, np.zeros((1, 3)), None, 0.1, 0.2),
    ]
    again = arrays_to_answers(*answers_to_arrays(answers, [2, 5, 1]))
    assert again[1] == answers[1]
    assert (
        isinstance(again[0], Labels)
        and again[0].stress is not None
        and again[0].stress.tolist() == list(range(6))
    )
    assert isinstance(again[2], Labels) and again[2].stress is None and again[2].forces_spread == 0.2


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (Labels(float("nan"), np.zeros((2, 3))), "energy"),
        (Labels(0.0, np.zeros((3, 3))), "shape"),
        (Labels(0.0, np.full((2, 3), np.inf)), "2 of 2 atoms are not finite"),
        (Labels(0.0, np.zeros((2, 3)), np.full(6, np.nan)), "stress"),
        (Labels(0.0, np.zeros((2, 3)), None, np.nan), "spread"),
    ],
)
def test_what_is_no_label_is_refused(labels: Labels, reason: str) -> None:
    answer = checked(labels, 2, periodic=True)
    assert isinstance(answer, Refusal) and reason in answer.reason
