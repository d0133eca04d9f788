"""Packing keeps what the frames say, fits references per set, and leaves held-out and double geometries
out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from jmp_calc.errors import BadInputError
from jmp_calc.training.data.geometry_hash import Seen, key
from jmp_calc.training.pretraining.build_pack import build
from jmp_calc.training.pretraining.filters import subsample
from jmp_calc.training.pretraining.mixture import load_mixture, read_recipe
from jmp_calc.training.pretraining.options import PretrainOptions
from jmp_calc.training.pretraining.pack import Packed, load_packed, save_packed
from jmp_calc.training.pretraining.recipe import recipe_of
from jmp_calc.training.pretraining.sets import source_sets
from tests.training.helpers.mixture_data import labelled, write_mixture

HARTREE, BOHR = 27.211386246, 0.529177211  # eV, Å
KCAL_MOL, KJ_MOL, KBAR = 0.0433641153, 0.0103642697, 6.241509e-4  # eV, eV, eV/Å^3


def packed_in(folder: Path) -> Packed:
    """The packed mixture of a folder with data."""
    return build(load_mixture(folder / "tiny.toml"), folder, say=lambda text: None)


def same(a: Atoms, b: Atoms) -> bool:
    """Whether two structures count as one geometry."""
    seen = Seen()
    seen.add(key(a.numbers, a.positions, a.cell.array, a.pbc), "first")
    return seen.find(key(b.numbers, b.positions, b.cell.array, b.pbc)) is not None


def test_file_holds_the_frames_and_what_is_packed_is_told(tmp_path: Path) -> None:
    lines: list[str] = []
    recipe = write_mixture(tmp_path)
    save_packed(tmp_path / "p.npz", build(load_mixture(recipe), tmp_path, say=lines.append), {})
    assert lines[-1].startswith("total: ")
    packed = load_packed(tmp_path / "p.npz")
    copper = read(tmp_path / "copper.xyz", ":")
    members = np.flatnonzero(packed.set_index == 0)
    assert len(members) == len(copper)
    energies = sorted(packed.energy[members])
    assert np.allclose(energies, sorted(atoms.get_potential_energy() for atoms in copper), rtol=0, atol=1e-6)
    frame = packed.frame(int(members[0]))
    match = next(
        atoms for atoms in copper if abs(atoms.get_potential_energy() - (frame.energy or 0.0)) < 1e-6
    )
    assert np.abs(frame.positions - match.positions).max() < 1e-5
    assert frame.forces is not None and np.abs(frame.forces - match.get_forces()).max() < 1e-5
    assert frame.stress is not None and np.abs(frame.stress - match.get_stress(voigt=False)).max() < 1e-6


@pytest.mark.parametrize(
    ("declared", "energy", "length", "forces", "stress"),
    [
        ({"energy_unit": "hartree", "length_unit": "bohr"}, HARTREE, BOHR, HARTREE / BOHR, HARTREE / BOHR**3),
        ({"forces_unit": "kcal/mol/angstrom"}, 1.0, 1.0, KCAL_MOL, 1.0),
        ({"stress_unit": "kbar", "stress_sign": "pressure"}, 1.0, 1.0, 1.0, -KBAR),
        ({"energy_unit": "kJ/mol", "forces_unit": "Ry/bohr"}, KJ_MOL, 1.0, HARTREE / 2 / BOHR, KJ_MOL),
    ],
)
def test_set_in_other_units_is_packed_as_the_same_set_in_ours_and_alone(
    tmp_path: Path, declared: dict[str, str], energy: float, length: float, forces: float, stress: float
) -> None:
    recipe = write_mixture(tmp_path)
    ours = packed_in(tmp_path)
    foreign = []
    for atoms in read(tmp_path / "copper.xyz", ":"):
        other = Atoms(atoms.numbers, atoms.positions / length, cell=atoms.cell.array / length, pbc=True)
        results = {
            "energy": atoms.get_potential_energy() / energy,
            "forces": atoms.get_forces() / forces,
            "stress": atoms.get_stress() / stress,
        }
        other.calc = SinglePointCalculator(other, **results)
        foreign.append(other)
    write(tmp_path / "copper.xyz", foreign, format="extxyz")
    keys = "".join(f'\n{key} = "{unit}"' for key, unit in declared.items())
    recipe.write_text(recipe.read_text().replace("[sets.copper]", f"[sets.copper]{keys}"))
    theirs = packed_in(tmp_path)
    for name in ("numbers", "pbc", "offset", "set_index", "valid", "n_edges", "degree"):
        assert np.array_equal(getattr(theirs, name), getattr(ours, name)), name
    for name, tolerance in (("positions", 1e-6), ("cell", 1e-6), ("energy", 1e-5), ("forces", 1e-5)):
        assert np.allclose(getattr(theirs, name), getattr(ours, name), rtol=0, atol=tolerance), name
    assert np.allclose(theirs.stress, ours.stress, rtol=0, atol=1e-6, equal_nan=True)
    assert theirs.sets[0].force_rms == pytest.approx(ours.sets[0].force_rms, rel=1e-5)
    assert theirs.sets[1:] == ours.sets[1:]


def test_each_set_has_its_own_reference(tmp_path: Path) -> None:
    write_mixture(tmp_path)
    packed = packed_in(tmp_path)
    copper, shifted = packed.sets[0].references[29], packed.sets[1].references[29]
    assert shifted - copper == pytest.approx(7.0, abs=0.3)
    per_atom = (packed.energy - packed.reference_energies()) / np.diff(packed.offset)
    for index in range(len(packed.sets)):
        assert abs(per_atom[packed.set_index == index].mean()) < 0.5


def test_validation_frames_are_marked_and_stress_is_dropped_where_the_recipe_says(tmp_path: Path) -> None:
    write_mixture(tmp_path)
    packed = packed_in(tmp_path)
    for index, item in enumerate(packed.sets):
        assert packed.valid[packed.set_index == index].sum() == item.n_valid > 0
    assert np.isnan(packed.stress[packed.set_index == 1]).all()
    assert not np.isnan(packed.stress[packed.set_index == 0]).any()


def test_geometry_of_a_held_out_file_is_left_out(tmp_path: Path) -> None:
    write_mixture(tmp_path)
    copper = read(tmp_path / "copper.xyz", "2")
    copper.rotate(30.0, (1, 2, 3), rotate_cell=True)
    write(tmp_path / "mlearn_test.xyz", labelled(copper[np.random.default_rng(0).permutation(len(copper))]))
    packed = packed_in(tmp_path)
    assert packed.sets[0].dropped["held out"] == 1
    assert (packed.set_index == 0).sum() == 11


def test_frame_that_is_in_two_sets_stays_in_the_first(tmp_path: Path) -> None:
    write_mixture(tmp_path)
    frames = [*read(tmp_path / "shifted.xyz", ":"), read(tmp_path / "copper.xyz", "0")]
    write(tmp_path / "shifted.xyz", frames, format="extxyz")
    assert packed_in(tmp_path).sets[1].dropped["duplicate"] == 1


def test_frames_with_too_many_edges_are_left_out_and_counted(tmp_path: Path) -> None:
    recipe = write_mixture(tmp_path)
    frames = read(tmp_path / "copper.xyz", ":")
    write(tmp_path / "copper.xyz", [*frames[:-2], *(labelled(atoms * (2, 1, 1)) for atoms in frames[-2:])])
    packed = packed_in(tmp_path)
    edges = np.sort(packed.n_edges[packed.set_index == 0])
    limit = int(edges[len(edges) // 2])
    text = recipe.read_text()
    assert "[mixture]" in text and "max_frame_edges" not in text
    recipe.write_text(text.replace("[mixture]", f"[mixture]\nmax_frame_edges = {limit}"))
    packed = packed_in(tmp_path)
    assert packed.n_edges.max() <= limit
    assert packed.sets[0].dropped["edges"] == (edges > limit).sum() > 0


@pytest.mark.parametrize("label", ["energy", "forces", "stress"])
def test_frames_with_labels_that_are_not_finite_are_left_out_and_counted(tmp_path: Path, label: str) -> None:
    write_mixture(tmp_path)
    frames = read(tmp_path / "copper.xyz", ":")
    before = len(packed_in(tmp_path))
    spoilt = np.array(frames[1].calc.results[label], dtype=float)
    spoilt.flat[0] = np.nan
    frames[1].calc.results[label] = float(spoilt) if label == "energy" else spoilt
    write(tmp_path / "copper.xyz", frames)
    packed = packed_in(tmp_path)
    assert len(packed) == before - 1 and packed.sets[0].dropped["not finite"] == 1
    assert np.isfinite(packed.energy).all()


def test_set_without_usable_frames_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    recipe = write_mixture(tmp_path)
    recipe.write_text(
        recipe.read_text().replace('head = "aside"\ncap = 4', 'head = "aside"\ncap = 4\nmax_force = 1e-6')
    )
    with pytest.raises(BadInputError, match="aside") as caught:
        packed_in(tmp_path)
    assert "force" in (caught.value.hint or "")


def test_file_that_is_no_pack_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"no zip")
    with pytest.raises(BadInputError, match="not a packed mixture"):
        load_packed(tmp_path / "x.npz")


def test_geometry_keys_do_not_see_order_origin_and_orientation_but_see_a_small_move() -> None:
    rng = np.random.default_rng(5)
    water, silicon = molecule("CH3CH2OH"), bulk("Si", cubic=True)
    for atoms in (water, silicon):
        atoms.rattle(0.1, rng=rng)
        other = atoms[rng.permutation(len(atoms))]
        other.positions += rng.normal(size=3)
        if atoms.pbc.any():
            other.wrap()
        else:
            other.rotate(77.0, (1, -1, 3))
        assert same(atoms, other)
        other.positions[0] += 0.03
        assert not same(atoms, other)


def test_even_subsample_spans_the_file_and_keeps_the_order(tmp_path: Path) -> None:
    write_mixture(tmp_path)
    packed = packed_in(tmp_path)
    frames = [packed.frame(i) for i in range(len(packed))]
    chosen = [frame.index for frame in subsample(frames, 5, "even", 0)]
    assert chosen == sorted(chosen)
    assert (chosen[0], chosen[-1], len(chosen)) == (0, len(packed) - 1, 5)


def test_sets_of_a_pack_are_under_the_heads_of_the_recipe_that_reads_it(tmp_path: Path) -> None:
    """One pack serves recipes with other heads: one per method, or one for all."""
    recipe = write_mixture(tmp_path)
    save_packed(tmp_path / "p.npz", packed_in(tmp_path), {})
    content = read_recipe(recipe)
    content["sets"] = {name: content["sets"][name] for name in ("molecules", "aside")}
    for item in content["sets"].values():
        item["head"] = "both"
    content["heads"] = {"both": {"level_of_theory": "two of EMT"}}
    content["mixture"] = {**content["mixture"], "default_head": "both", "default_for_molecules": ""}
    sets = source_sets(
        recipe_of(content, "here"), None, PretrainOptions(pack=tmp_path / "p.npz"), lambda text: None
    )
    assert [(source.name, source.described.head) for source in sets] == [
        ("molecules", "both"),
        ("aside", "both"),
    ]
