"""Figures never end a run: what matplotlib cannot do is a warning, and its settings stay the user's."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from jmp_calc.errors import JMPWarning
from jmp_calc.io.plot_screen import plot_screen
from jmp_calc.io.plots import plot_dos
from tests.extras import reason
from tests.programs import environment, run

matplotlib = pytest.importorskip("matplotlib", reason=reason("plot"))

PROGRAM = """
import os, sys, warnings
import numpy as np
warnings.simplefilter("error")
from pathlib import Path
from jmp_calc.io.plots import plot_dos
plot_dos(np.linspace(0, 1, 5), np.ones(5), [Path("dos.svg"), Path("dos.png")])
import matplotlib
print(os.environ["MPLBACKEND"], matplotlib.rcParams._get("backend"))
"""


@pytest.mark.parametrize(
    "backend, kept",
    [
        ("module://matplotlib_inline.backend_inline", None),
        ("no-such-backend", None),
        ("svg", "svg"),
    ],
)
def test_figures_are_drawn_whatever_mplbackend_says(backend: str, kept: str | None, tmp_path: Path) -> None:
    """A Jupyter kernel leaves its own to the commands that it starts."""
    done = run([sys.executable, "-c", PROGRAM], env=environment(MPLBACKEND=backend), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {"dos.svg", "dos.png"} <= {path.name for path in tmp_path.iterdir()}
    told, used = done.stdout.split(maxsplit=1)
    assert told == backend
    assert kept is None or used.strip() == kept


def draw(folder: Path) -> None:
    plot_dos(np.linspace(0.0, 1.0, 5), np.ones(5), [folder / "dos.svg"])


def test_settings_of_the_user_are_neither_used_nor_changed(tmp_path: Path) -> None:
    with matplotlib.rc_context({"text.usetex": True, "axes.facecolor": "#123456"}):
        draw(tmp_path)
        assert matplotlib.rcParams["text.usetex"]
    assert "#123456" not in (tmp_path / "dos.svg").read_text()


def test_what_cannot_be_drawn_is_a_warning_and_leaves_no_part(tmp_path: Path) -> None:
    (tmp_path / "dos.svg").mkdir()  # a file cannot replace it
    with pytest.warns(JMPWarning, match=r"density of states could not be drawn .*numbers are in their files"):
        draw(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["dos.svg"]
    with pytest.warns(JMPWarning, match="could not be drawn"):
        draw(tmp_path / "no such folder")


@pytest.mark.parametrize(
    "numbers",
    [[300.0] * 8, [300.0, 300.0 + 1e-13], [0.0, 0.0], [1e-300] * 3, [1.0, 2.0, 2.0], [-5.0]],
    ids=["equal", "rounding", "zero", "tiny", "whole", "one"],
)
def test_numbers_that_are_all_alike_are_one_bar(numbers: list[float], tmp_path: Path) -> None:
    plot_screen({"temperature_k_mean": numbers}, {"ok": len(numbers)}, [tmp_path / "screen.png"])
    assert (tmp_path / "screen.png").is_file()
