"""PLUMED through ASE: a bias on a calculator of ours. It needs the kernel, which no package index has."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase import units
from ase.build import molecule

from jmp_calc import JMPCalculator

plumed = pytest.importorskip("plumed", reason="needs PLUMED: conda install -c conda-forge plumed py-plumed")


def test_a_harmonic_bias_adds_its_energy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ase.calculators.plumed import Plumed

    try:
        plumed.Plumed()
    except RuntimeError:
        pytest.skip("PLUMED has no kernel: set PLUMED_KERNEL")
    monkeypatch.chdir(tmp_path)
    atoms = molecule("H2O")
    calc = JMPCalculator("jmp-xs", head="b3lyp", dtype="float64", device="cpu")
    expected = calc.get_potential_energy(atoms)
    length = atoms.get_distance(0, 1)
    stiffness = 2.0
    bias = [
        f"UNITS LENGTH=A TIME={1 / (1000 * units.fs)} ENERGY={units.mol / units.kJ}",
        "d: DISTANCE ATOMS=1,2",
        f"RESTRAINT ARG=d AT={length + 0.1} KAPPA={stiffness}",
    ]
    atoms.calc = Plumed(calc, input=bias, timestep=units.fs, atoms=atoms, kT=300 * units.kB)
    added = atoms.get_potential_energy() - expected
    assert added == pytest.approx(0.5 * stiffness * 0.1**2, rel=1e-4)
