"""Thermal conductivity falls with temperature, is that of the symmetry, and goes on after an end."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from jmp_calc import conductivity
from jmp_calc.errors import JMPError, NotConvergedError, UsageError
from jmp_calc.io.outdir import LOCK_NAME
from jmp_calc.workflows.phonon.conductivity import check_collisions
from jmp_calc.workflows.phonon.conductivity_result import OUTPUTS
from tests.extras import needs
from tests.workflows.phonon.test_resume import Ends

QUICK: dict[str, Any] = {
    "supercell": "3 3 3",
    "fc2_supercell": "3 3 3",
    "mesh": "7 7 7",
    "tmin": 300.0,
    "tmax": 900.0,
    "tstep": 300.0,
}
INSTALLED = importlib.util.find_spec("phono3py") is not None
PHONO3PY = needs("conductivity")


def copper() -> Atoms:
    return bulk("Cu", "fcc", a=3.302)


@PHONO3PY
@pytest.mark.capability("D15")
def test_conductivity_falls_as_one_over_t_and_is_isotropic(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = conductivity(copper(), calc=Ends(unit=1), **QUICK, out=tmp_path)
    kappa = result.kappa
    assert kappa[:, :3] == pytest.approx(np.repeat(kappa[:, :1], 3, axis=1), rel=1e-6)
    assert np.abs(kappa[:, 3:]).max() < 1e-6 * kappa[0, 0]
    assert kappa[0, 0] / kappa[2, 0] == pytest.approx(3.0, rel=0.2)
    points = np.prod(result.phono3py.mesh_numbers)
    assert result.mode_kappa.sum(axis=(1, 2)) / points == pytest.approx(kappa, rel=1e-6, abs=1e-9)
    assert 1 < kappa[0, 0] < 1000
    assert result.largest_share < 0.4
    alone = result.mode_kappa.copy()
    alone[:, 1, 0] *= 1e6
    with pytest.raises(NotConvergedError, match=r"One mode carries 100 % .* 7×7×7 it hardly meets others"):
        check_collisions(dataclasses.replace(result, mode_kappa=alone))
    frequencies, share = result.cumulative(0)
    assert np.all(np.diff(frequencies) >= 0) and share[-1] == 1.0
    assert {path.name for path in tmp_path.iterdir()} - {LOCK_NAME} == set(OUTPUTS)


@PHONO3PY
def test_a_run_goes_on_and_computes_nothing_twice(tmp_path: Path) -> None:
    whole, first, second = Ends(unit=1), Ends(last=2, unit=1), Ends(unit=1)
    expected = conductivity(copper(), calc=whole, **QUICK)
    with pytest.raises(KeyboardInterrupt):
        conductivity(copper(), calc=first, **QUICK, out=tmp_path)
    again = conductivity(copper(), calc=second, **QUICK, out=tmp_path, resume=True, plot=False)
    assert first.seen + second.seen == whole.seen == expected.n_third + expected.n_second
    assert np.array_equal(again.kappa, expected.kappa)


@PHONO3PY
def test_what_has_imaginary_modes_has_no_conductivity() -> None:
    atoms = bulk("Cu", "sc", a=2.208)
    with pytest.raises(NotConvergedError, match="Imaginary modes down to -"):
        conductivity(atoms, calc=Ends(unit=1), **{**QUICK, "fc2_supercell": "4 4 4"})


@PHONO3PY
def test_a_supercell_in_which_nothing_is_anharmonic_is_refused() -> None:
    """In 2 × 2 × 2 primitive cells every atom is its own mirror image about every other."""
    with pytest.raises(NotConvergedError, match="the modes do not collide"):
        conductivity(copper(), calc=Ends(unit=1), **{**QUICK, "supercell": "2 2 2", "mesh": "3 3 3"})


@PHONO3PY
def test_isotopes_by_mass_are_refused() -> None:
    atoms = bulk("Cu", "fcc", a=3.302, cubic=True)
    atoms.set_masses([62.9, 62.9, 64.9, 62.9])
    with pytest.raises(UsageError, match="differ in mass"):
        conductivity(atoms, calc=Ends(), **QUICK)


@pytest.mark.skipif(INSTALLED, reason="phono3py is installed")
def test_without_the_extra_its_install_line_is_told() -> None:
    with pytest.raises(JMPError, match=r"pip install 'jmp-calc\[conductivity\]'"):
        conductivity(copper(), calc=Ends(unit=1), **QUICK)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"tmin": 0.0}, "tmin must be above 0 K"),
        ({"method": "wigner"}, "Unknown method"),
        ({"pair_cutoff": -1.0}, "pair_cutoff must be positive"),
        ({"boundary_um": 0.0}, "boundary_um must be positive"),
        ({"mesh": (10**4, 10**4, 10**4)}, "mesh may have"),
        ({"fc2_supercell": "2 2"}, "3 or 9 whole numbers"),
    ],
)
def test_settings_that_cannot_be_meant(wrong: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        conductivity(copper(), calc=Ends(unit=1), **{**QUICK, **wrong})
