"""Born charges split LO from TO as electrostatics say; crystals that lack them are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import phonopy
import pytest
from ase import Atoms
from ase.build import bulk, mx2
from ase.units import _amu, _e, _eps0

from jmp_calc import phonons
from jmp_calc.errors import BadInputError, JMPWarning, UsageError
from jmp_calc.workflows.phonon.nac import NO_CHARGES, NO_LO_TO, NOT_IN_LAYERS, non_analytical
from jmp_calc.workflows.phonon.phonons import displacements
from jmp_calc.workflows.phonon.qha import displaced_at
from jmp_calc.workflows.phonon.qha_settings import QhaSettings
from jmp_calc.workflows.phonon.settings import PhononSettings
from tests.workflows.conftest import morse

CHARGE, DIELECTRIC = 1.3, 2.5


def diagonal(value: float) -> str:
    return f"{value} 0 0 0 {value} 0 0 0 {value}\n"


GOOD = "a comment\n" + diagonal(DIELECTRIC) + diagonal(CHARGE) + diagonal(-CHARGE)


@pytest.fixture
def born(tmp_path: Path) -> Path:
    path = tmp_path / "BORN"
    path.write_text(GOOD)
    return path


@pytest.fixture
def salt() -> Atoms:
    """CsCl lattice with Morse forces, whose cubic symmetry keeps every atom without force."""
    atoms = bulk("NaCl", "cesiumchloride", a=2.9)
    atoms.calc = morse()
    return atoms


@pytest.mark.capability("D8")
@pytest.mark.filterwarnings("ignore:the cell is strained")
def test_the_splitting_at_gamma_is_that_of_the_charges(salt: Atoms, born: Path, tmp_path: Path) -> None:
    """ω_LO² - ω_TO² = Z² e² / (ε0 ε V μ) of a cubic crystal of two ions."""
    out = tmp_path / "out"
    options = {"supercell": "2 2 2", "mesh": "2 2 2", "band_points": 11, "tmax": 310.0, "bands": "G X"}
    options |= {"imaginary_tolerance_thz": 50.0}
    result = phonons(salt, born=born, out=out, plot=False, **options)
    without = phonons(salt, **options).frequencies_thz[0]
    at_gamma = result.frequencies_thz[0]
    reduced = _amu / (1 / salt.get_masses()).sum()
    split = (CHARGE * _e) ** 2 / (_eps0 * DIELECTRIC * salt.get_volume() * 1e-30 * reduced)
    split /= (2e12 * np.pi) ** 2
    assert np.abs(without[3:] - without[-1]).max() < 1e-3
    assert at_gamma[3:5] == pytest.approx(without[3:5], abs=1e-3)
    assert at_gamma[5] ** 2 - at_gamma[4] ** 2 == pytest.approx(split, rel=1e-3)
    assert str(born) in result.non_analytical
    loaded = phonopy.load(out / "phonopy_params.yaml", log_level=0, symmetrize_fc=True)
    assert loaded.nac_params["born"][0] == pytest.approx(CHARGE * np.eye(3))
    near = [one.run_qpoints([[0.01, 0, 0]]).frequencies[0][-1] for one in (loaded, result.phonopy)]
    assert near[0] == pytest.approx(near[1], abs=1e-3)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "line 1"),
        ("c\n1 2 3\n", "line 2"),
        ("c\n" + diagonal(DIELECTRIC) + diagonal(CHARGE), "not enough"),
        (GOOD + diagonal(0.1), "Too many atoms"),
        (GOOD.replace("1.3", "one"), "could not convert"),
        (GOOD.replace("1.3", "nan"), "not finite"),
        (GOOD.replace("2.5", "inf"), "not finite"),
        (GOOD.replace("2.5", "0.5"), "below 1"),
        (GOOD.replace("2.5", "-2.5"), "below 1"),
    ],
)
def test_files_of_something_else_are_refused_before_any_force(
    salt: Atoms, born: Path, text: str, message: str
) -> None:
    born.write_text(text)
    with pytest.raises(BadInputError, match=message) as caught:
        displacements(salt, PhononSettings(supercell="2 2 2", born=str(born)))
    assert caught.value.where == str(born)
    assert "atoms 1 2 of the primitive cell (Na Cl)" in (caught.value.hint or "")


def test_files_that_are_not_there_are_named(salt: Atoms, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(bytes(range(128, 256)))
    for path in (tmp_path / "missing", tmp_path, tmp_path / "binary"):
        with pytest.raises(BadInputError, match="cannot be read"):
            displacements(salt, PhononSettings(supercell="2 2 2", born=str(path)))


def test_charges_that_do_not_add_up_are_named(salt: Atoms, born: Path) -> None:
    born.write_text(GOOD.replace("-1.3", "-1.1"))
    with pytest.warns(JMPWarning, match=r"do not add up to zero: 0\.1 e per atom"):
        displacements(salt, PhononSettings(supercell="2 2 2", born=str(born)))


def selenium() -> Atoms:
    """Trigonal: atoms of one element that are not on centres."""
    a, c, u = 4.37, 4.96, 0.225
    places = [[u, 0, 0], [0, u, 1 / 3], [-u, -u, 2 / 3]]
    return Atoms("Se3", scaled_positions=places, cell=[a, a, c, 90, 90, 120], pbc=True)


@pytest.mark.parametrize(
    "atoms, sentence",
    [
        (bulk("NaCl", "rocksalt", a=5.6), NO_LO_TO),
        (bulk("GaAs", "zincblende", a=5.65), NO_LO_TO),
        (selenium(), NO_LO_TO),
        (bulk("Si", "diamond", a=5.43), NO_CHARGES),
        (bulk("Si", "diamond", a=5.43, cubic=True), NO_CHARGES),
        (bulk("Mg", "hcp", a=3.2, c=5.2), NO_CHARGES),
        (bulk("Cu", "fcc", a=3.6), NO_CHARGES),
        (mx2("MoS2", vacuum=10.0), NOT_IN_LAYERS),
    ],
    ids=["NaCl", "GaAs", "Se", "Si", "Si8", "Mg", "Cu", "MoS2"],
)
def test_the_sentence_stands_where_symmetry_allows_charges(atoms: Atoms, sentence: str) -> None:
    phonon, _, periodic = displacements(atoms, PhononSettings(supercell="2 2 1"))
    assert non_analytical(phonon, periodic, None) == sentence


def test_layers_take_no_born_charges(born: Path) -> None:
    with pytest.raises(UsageError, match="layer or wire"):
        displacements(mx2("MoS2", vacuum=10.0), PhononSettings(supercell="2 2 1", born=str(born)))


def test_a_born_file_of_another_crystal_is_refused(born: Path) -> None:
    """Silicon has one atom that is independent by symmetry, the file has two."""
    with pytest.raises(BadInputError, match="Too many atoms"):
        displacements(bulk("Si", "diamond", a=5.43), PhononSettings(supercell="2 2 2", born=str(born)))


def test_all_volumes_of_an_expansion_take_the_born_charges(salt: Atoms, born: Path) -> None:
    settings = QhaSettings(supercell="2 2 2", born=str(born))
    for phonon in displaced_at([salt, salt], settings):
        assert phonon.nac_params["dielectric"] == pytest.approx(DIELECTRIC * np.eye(3))
    assert settings.to_dict()["born"] == str(born)
