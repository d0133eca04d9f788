"""What is shipped: one version number, a real sample with attribution, pinned constraints."""

from __future__ import annotations

import gzip
import io
import re
import tomllib
from importlib import resources
from pathlib import Path

import numpy as np

import jmp_calc

ROOT = Path(__file__).parents[1]


def test_one_version_number() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == jmp_calc.__version__
    assert f"## {jmp_calc.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_constraints_pin_every_dependency() -> None:
    """Whatever `pip install .[dev]` may choose is pinned, torch among it."""
    pinned = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()[1:]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.match(r"[A-Za-z0-9._-]+", text).group().lower() for text in wanted} - {"jmp-calc"}
    assert names <= pinned
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().splitlines()


def test_sample_is_small_real_and_attributed() -> None:
    """504 frames of 3BPA below 1 MB: four isolated atoms, 500 molecules with forces that nearly sum to
    zero."""
    from ase.io import read

    sample = resources.files("jmp_calc.samples") / "bpa3_sample.xyz.gz"
    packed = sample.read_bytes()
    assert len(packed) < 1_000_000
    frames = read(io.StringIO(gzip.decompress(packed).decode()), ":", format="extxyz")
    atoms = [frame for frame in frames if frame.info["config_type"] == "IsolatedAtom"]
    molecules = [frame for frame in frames if frame.info["config_type"] != "IsolatedAtom"]
    assert sorted(frame.get_chemical_formula() for frame in atoms) == ["C", "H", "N", "O"]
    assert len(molecules) == 500
    assert all(len(frame) == 27 for frame in molecules)
    assert max(np.abs(frame.get_forces().sum(axis=0)).max() for frame in molecules) < 0.05
    assert "BOTNet-datasets" in (ROOT / "NOTICE").read_text()
