"""Molecules and crystals of the hold-out get into no training, whatever their geometry."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write

from jmp_calc.bonding import molecule_names
from jmp_calc.training.data.frame import Frame
from jmp_calc.training.data.labels import read_labelled
from jmp_calc.training.pretraining.build_pack import build
from jmp_calc.training.pretraining.filters import Rules, is_held_out
from jmp_calc.training.pretraining.holdout import exclusions, held_out
from jmp_calc.training.pretraining.made import Made
from jmp_calc.training.pretraining.mixture import MixtureSet, load_mixture, mixture_of
from tests.training.helpers.mixture_data import labelled

DATA = os.environ.get("JMP_CALC_DATA")
FILES = MixtureSet("set", "head", files=("set.xyz",))
MADE = MixtureSet("set", "head", made=Made("molecules", "emt", 10))


def frame(atoms: Atoms, names: tuple[str, ...] = (), origin: str | None = None) -> Frame:
    return Frame(
        atoms.numbers.astype(np.int64),
        atoms.positions,
        atoms.cell.array,
        atoms.pbc,
        None,
        None,
        None,
        "default",
        "set.xyz",
        0,
        molecules=names,
        origin=origin,
    )


def is_left_out(given: Frame, item: MixtureSet) -> bool:
    mixture = mixture_of(
        {
            "mixture": {"name": "m", "default_head": "head"},
            "heads": {"head": {"level_of_theory": "none"}},
            "sets": {"set": {"head": "head", "files": ["set.xyz"]}},
        }
    )
    return is_held_out(given, item, Rules(mixture, held_out()))


@pytest.mark.parametrize("kind", ["CH3CH2OH", "C6H6"])
def test_a_molecule_is_left_out_in_any_geometry_and_company(kind: str) -> None:
    atoms = molecule(kind)
    atoms.rattle(0.06, seed=1)
    pair = atoms.copy()
    pair.extend(Atoms("OH2", [[9.0, 0.0, 0.0], [9.6, 0.7, 0.0], [9.6, -0.7, 0.0]]))
    assert is_left_out(frame(atoms), FILES) and is_left_out(frame(pair), FILES)


@pytest.mark.parametrize("kind", ["H2O", "CH3OH"])
def test_small_molecules_are_not_sampled_but_stay_in_sets_about_them(kind: str) -> None:
    atoms = molecule(kind)
    names = tuple(molecule_names(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc))
    assert not is_left_out(frame(atoms), FILES)
    assert is_left_out(frame(atoms, names), MADE)


def test_what_is_sampled_is_judged_by_what_it_was_made_from() -> None:
    broken = molecule("CH3CH2OH")
    names = tuple(molecule_names(broken.numbers, broken.positions, broken.cell.array, broken.pbc))
    broken.positions[0] += 5.0
    assert is_left_out(frame(broken, names), MADE)
    assert not is_left_out(frame(molecule("CH3CH2OH"), ("0" * 16,)), MADE)


def without_symmetry(formula: str) -> Atoms:
    """A crystal of a compound with its atoms anywhere."""
    cell = [[4.1, 0.2, 0.1], [0.3, 4.9, 0.4], [0.5, 0.6, 5.3]]
    places = [(0.1, 0.2, 0.0), (0.5, 0.13, 0.4), (0.3, 0.7, 0.8)]
    return Atoms(formula, scaled_positions=places, cell=cell, pbc=True)


@pytest.mark.parametrize(
    ("atoms", "in_files", "in_samples"),
    [
        (bulk("MgO", "rocksalt", a=4.21), True, True),
        (bulk("MgO", "cesiumchloride", a=2.6), False, True),  # another structure of the compound
        (bulk("GaAs", "zincblende", a=5.65), True, True),
        (bulk("GaAs", "rocksalt", a=5.3), True, True),  # a labelled file: any structure
        (bulk("Si"), False, False),
        (without_symmetry("Ag2S"), False, True),  # as in a file: in no symmetry, as whatever moves
    ],
)
def test_crystals_are_left_out_by_compound_and_space_group(
    atoms: Atoms, *, in_files: bool, in_samples: bool
) -> None:
    assert is_left_out(frame(atoms), FILES) is in_files
    assert is_left_out(frame(atoms, origin=atoms.get_chemical_formula()), MADE) is in_samples


def test_lists_for_sampling_have_one_entry_in_a_line(tmp_path: Path) -> None:
    molecules = exclusions("molecules", tmp_path / "molecules.txt").read_text().splitlines()
    crystals = exclusions("crystals", tmp_path / "crystals.txt").read_text().splitlines()
    assert all(line.startswith("hash:") for line in molecules) and len(molecules) > 30_000
    assert "O2Ti" in crystals and len(crystals) == len(set(crystals))


def test_the_pack_of_a_mixture_lacks_them(tmp_path: Path) -> None:
    atoms = [labelled(molecule(kind)) for kind in ("CH3OH", "CH3CH2OH", "C2H6", "CH3OCH3") for _ in range(3)]
    for i, structure in enumerate(atoms):
        structure.rattle(0.05, seed=i)
    write(tmp_path / "set.xyz", [labelled(structure) for structure in atoms], format="extxyz")
    (tmp_path / "m.toml").write_text(
        '[mixture]\nname = "m"\ndefault_head = "a"\n[heads.a]\nlevel_of_theory = "EMT"\n'
        '[sets.set]\nfiles = ["set.xyz"]\nhead = "a"\n'
    )
    packed = build(load_mixture(tmp_path / "m.toml"), tmp_path, say=lambda line: None)
    assert packed.sets[0].dropped["held out"] == 3 and len(packed) == 9


@pytest.mark.slow
@pytest.mark.skipif(DATA is None, reason="needs the data of JMP_CALC_DATA")
@pytest.mark.parametrize("file", ["bpa3_test", "aspirin_rmd17", "spice_dipeptides_test", "c60_pbe0_test"])
def test_every_frame_of_a_held_out_file_of_molecules_is_recognised(file: str) -> None:
    frames = read_labelled(Path(DATA or "") / f"{file}.xyz.gz", require=()).frames
    assert all(held_out().has(item) for item in frames[::5])


@pytest.mark.slow
@pytest.mark.skipif(DATA is None, reason="needs the data of JMP_CALC_DATA")
@pytest.mark.parametrize("file", ["qm7", "qm9_sub_test", "rdb7_barriers_rp", "refenergies"])
def test_no_molecule_of_a_scalar_set_is_sampled(file: str) -> None:
    from jmp_calc.training.data.raw import read_raw

    for raw in read_raw(Path(DATA or "") / f"{file}.xyz.gz").frames[::50]:
        names = molecule_names(raw.numbers, raw.positions, raw.cell, raw.pbc)
        assert not names or held_out().has_sampled(names), raw.index


@pytest.mark.slow
@pytest.mark.skipif(DATA is None, reason="needs the data of JMP_CALC_DATA")
@pytest.mark.parametrize("file", ["batio3", "tio2_aenet", "gst", "gaas", "dielectric_mp", "perov5_test"])
def test_no_compound_of_a_held_out_file_is_sampled(file: str) -> None:
    from jmp_calc.training.data.raw import read_raw
    from jmp_calc.training.pretraining.compounds import formula_of, is_compound

    for raw in read_raw(Path(DATA or "") / f"{file}.xyz.gz").frames[::20]:
        formula = formula_of(raw.numbers)
        assert not is_compound(formula) or held_out().has_compound(formula), raw.index
