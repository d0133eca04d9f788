"""Crystals of sensible elements at sensible volumes, and what distortions make of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.io import write

from jmp_calc.errors import UsageError
from jmp_calc.model.elements import SYMBOLS
from jmp_calc.sampling.compositions import CrystalChemistry, alloy_scale, elemental_crystal, salt
from jmp_calc.sampling.crystals import COMPRESSED
from jmp_calc.sampling.distortions import closest_ratio, pushed_apart, random_cell
from jmp_calc.sampling.draws import generator
from jmp_calc.sampling.like import SCALE, LikeChemistry
from jmp_calc.sampling.prototypes import COVALENT, ELEMENT, IONIC, METALLIC, Prototype, prototypes
from jmp_calc.sampling.refusals import Refused
from jmp_calc.sampling.relaxing import relaxed
from jmp_calc.sampling.run import SampleResult
from jmp_calc.sampling.sample import sample
from jmp_calc.sampling.settings import CRYSTAL_SHARES
from jmp_calc.sampling.species import ANIONS, CATIONS, CRYSTAL_ELEMENTS, NONMETALS, VOLUMES, Ion


def prototype(bonding: str, name: str) -> Prototype:
    return next(kind for kind in prototypes()[bonding] if kind.name == name)


def ion(text: str) -> Ion:
    """ "Ca 2"."""
    name, charge = text.split()
    return next(i for i in (*CATIONS, *ANIONS) if SYMBOLS[i.number] == name and i.charge == int(charge))


@pytest.fixture(scope="module")
def crystals() -> SampleResult:
    return sample("crystals", count=400)


@pytest.mark.parametrize("kind", [k for kinds in prototypes().values() for k in kinds], ids=lambda k: k.name)
def test_prototypes_have_their_space_group(kind: Prototype) -> None:
    found = spglib.get_spacegroup((kind.cell, kind.scaled, [ord(x) for x in kind.labels]), symprec=1e-3)
    assert found is not None and found.endswith(f"({kind.group})")


def test_there_are_many_structure_types() -> None:
    assert len({kind.name for kinds in prototypes().values() for kind in kinds}) >= 75
    assert len(CRYSTAL_ELEMENTS) == 89 and set(VOLUMES) == {SYMBOLS[z] for z in CRYSTAL_ELEMENTS}


@pytest.mark.parametrize(
    "bonding, name, ions, volume",
    [
        (IONIC, "rocksalt", "Na 1, Cl -1", 44.9),
        (IONIC, "rocksalt", "Mg 2, O -2", 18.7),
        (IONIC, "rocksalt", "Ti 4, C -4", 20.3),
        (IONIC, "cscl", "Cs 1, Cl -1", 69.9),
        (IONIC, "fluorite", "Ca 2, F -1", 40.7),
        (IONIC, "antifluorite", "Li 1, O -2", 24.7),
        (IONIC, "rutile", "Ti 4, O -2", 62.4),
        (IONIC, "anatase", "Ti 4, O -2", 68.1),
        (IONIC, "perovskite", "Sr 2, Ti 4, O -2", 59.5),
        (IONIC, "corundum", "Al 3, O -2", 84.9),
        (IONIC, "spinel", "Mg 2, Al 3, O -2", 131.9),
        (IONIC, "mos2", "Mo 4, S -2", 106.3),
        (IONIC, "cdi2", "Cd 2, I -1", 106.5),
        (IONIC, "quartz", "Si 4, O -2", 113.0),
        (IONIC, "nafeo2", "Li 1, Co 3, O -2", 32.2),
        (IONIC, "bi2te3", "Bi 3, Te -2", 169.3),
        (COVALENT, "zincblende", "Ga 3, As -3", 45.1),
        (COVALENT, "wurtzite", "Zn 2, O -2", 47.6),
        (COVALENT, "chalcopyrite", "Cu 1, In 3, Se -2", 194.1),
    ],
)
def test_volumes_of_salts_are_those_of_nature(bonding: str, name: str, ions: str, volume: float) -> None:
    kind = prototype(bonding, name)
    made = salt(kind, dict(zip(kind.counts, map(ion, ions.split(", ")))))
    assert made is not None and made.atoms.get_volume() == pytest.approx(volume, rel=0.2)


@pytest.mark.parametrize(
    "name, elements, volume",
    [
        ("l1_2", "Al Ni", 45.5),
        ("cscl", "Ni Al", 24.1),
        ("a15", "Sn Nb", 148.0),
        ("laves-c15", "Mg Cu", 86.9),
        ("heusler", "Co Mn Si", 45.1),
        ("thcr2si2", "Ca Fe As", 89.0),
        ("alb2", "Ti B", 25.7),
        ("wc", "W C", 20.8),
        ("pyrite", "Fe S", 159.2),
    ],
)
def test_volumes_of_alloys_are_those_of_nature(name: str, elements: str, volume: float) -> None:
    kind = prototype(METALLIC, name)
    numbers = {label: SYMBOLS.index(element) for label, element in zip(kind.counts, elements.split())}
    assert kind.volume * alloy_scale(kind, numbers) ** 3 == pytest.approx(volume, rel=0.12)


@pytest.mark.parametrize(
    "name, element, volume",
    [
        ("fcc", "Al", 16.6),
        ("fcc", "Cu", 11.8),
        ("bcc", "Fe", 11.8),
        ("bcc", "Na", 37.8),
        ("hcp", "Mg", 23.2),
        ("diamond", "Si", 20.0),
        ("sc", "Al", 20.0),
        ("fcc", "Ar", 37.5),
        ("indium", "In", 26.2),
        ("beta-tin", "Sn", 27.0),
        ("selenium", "Se", 27.3),
        ("graphite", "C", 8.8),
    ],
)
def test_volumes_of_elements_are_those_of_nature(name: str, element: str, volume: float) -> None:
    atoms = elemental_crystal(prototype(ELEMENT, name), SYMBOLS.index(element))
    assert atoms.get_volume() / len(atoms) == pytest.approx(volume, rel=0.16)


def test_salts_are_neutral_and_every_element_is_drawn() -> None:
    chemistry, elements, names = CrystalChemistry(CRYSTAL_ELEMENTS, 40), Counter[int](), set()
    for index in range(1500):
        made = chemistry.draw(generator(0, index))
        if made is None:
            continue
        assert sum(made.ions[label].charge for label in made.prototype.labels) == 0
        elements.update(set(made.atoms.numbers.tolist()))
        names.add((made.composition, made.prototype.name))
    assert set(elements) == set(CRYSTAL_ELEMENTS)
    assert len(names) > 1200


def test_every_kind_has_its_share_and_says_what_it_is(crystals: SampleResult) -> None:
    total = sum(count for kind, count in crystals.kinds.items() if kind != "isolated")
    assert total + crystals.near_copies + crystals.missing == 400
    assert all(abs(crystals.kinds[kind] / total - share) < 0.02 for kind, share in CRYSTAL_SHARES.items())
    for atoms in crystals.frames:
        if atoms.info["sample_kind"] not in ("dimer", "isolated"):
            assert atoms.pbc.all() and atoms.info["prototype"] and atoms.info["composition"]
            assert 1 <= len(atoms) <= 40
    assert crystals.kinds["isolated"] == 89 and crystals.distinct > 300


def test_no_atoms_overlap(crystals: SampleResult) -> None:
    for atoms in crystals.frames:
        if atoms.info["sample_kind"] not in ("dimer", "isolated"):
            least = 0.5 if atoms.info["sample_kind"] in COMPRESSED else 0.6
            assert closest_ratio(atoms) >= least - 1e-6, atoms.info


def test_most_cells_are_small(crystals: SampleResult) -> None:
    sizes = [len(atoms) for atoms in crystals.frames if atoms.pbc.any()]
    assert np.mean(np.array(sizes) <= 20) > 0.75 and max(sizes) > 30


def test_surfaces_have_vacuum_and_vacancies_miss_atoms(crystals: SampleResult) -> None:
    for atoms in crystals.frames:
        if atoms.info["sample_kind"] == "surface":
            normal = np.cross(*atoms.cell.array[:2])
            heights = np.sort(atoms.positions @ normal / np.linalg.norm(normal))
            assert atoms.get_volume() / np.linalg.norm(normal) - np.ptp(heights) > 7.0


def test_excluded_crystals_are_not_drawn(tmp_path) -> None:  # type: ignore[no-untyped-def]
    listed = tmp_path / "holdout.txt"
    listed.write_text("# hold-out\nNaCl rocksalt\nClCs\n")
    settings = dict(count=150, elements="Na Cs Cl".split(), shares={"dimer": 0, "disorder": 0})
    free, kept = sample("crystals", **settings), sample("crystals", exclude=listed, **settings)

    def names(result: SampleResult) -> set[tuple[str, str]]:
        return {(a.info["composition"], a.info["prototype"]) for a in result.frames[3:]}

    assert ("ClNa", "rocksalt") in names(free) and ("ClCs", "cscl") in names(free)
    assert ("ClNa", "rocksalt") not in names(kept) and "ClCs" not in {name for name, _ in names(kept)}
    assert ("ClNa", "cscl") in names(kept)


def test_closest_ratio_sees_images() -> None:
    assert closest_ratio(Atoms("Cu", cell=[1.32] * 3, pbc=True)) == pytest.approx(0.5)
    assert closest_ratio(Atoms("Cu", cell=[5.0] * 3, pbc=True)) == 1.0


def test_atoms_that_are_pushed_apart_keep_their_cell_and_their_distance() -> None:
    rng = np.random.default_rng(3)
    for _ in range(10):
        heap = random_cell(rng, np.array([8] * 6 + [26] * 6), volume=200.0)
        apart = pushed_apart(heap, 0.7)
        assert closest_ratio(heap) < 0.65 < closest_ratio(apart)
        assert np.array_equal(apart.cell.array, heap.cell.array) and np.array_equal(
            apart.numbers, heap.numbers
        )
        assert apart.get_volume() == pytest.approx(200.0)
        assert np.allclose(apart.positions.mean(0), heap.positions.mean(0))  # pairs move by the same way


def test_atoms_that_do_not_overlap_stay() -> None:
    salt = crystal_of("NaCl")
    assert np.array_equal(pushed_apart(salt, 0.9).positions, salt.positions)


def crystal_of(formula: str) -> Atoms:
    return bulk(formula, "rocksalt", a=5.6, cubic=True)


def test_mixtures_have_many_elements_and_melts_are_dense_and_far_from_their_places() -> None:
    found = sample(
        "crystals", count=150, shares=dict.fromkeys(CRYSTAL_SHARES, 0.0) | {"mixture": 1, "melted": 1}
    )
    mixtures = [a for a in found.frames if a.info["sample_kind"] == "mixture"]
    elements = [len(set(a.numbers)) for a in mixtures]
    assert (
        max(elements) > 12
        and min(elements) == 2
        and len(set().union(*(set(a.numbers) for a in mixtures))) > 80
    )
    assert {a.info["prototype"] for a in mixtures} == {"none"}
    melts = [a for a in found.frames if a.info["sample_kind"] == "melted" and len(a) > 3]
    assert (
        np.mean(
            [spglib.get_spacegroup((a.cell, a.get_scaled_positions(), a.numbers)) == "P1 (1)" for a in melts]
        )
        > 0.9
    )


def test_the_scale_of_elements_has_those_of_crystals_each_once() -> None:
    assert len(SCALE) == len(set(SCALE)) and set(SCALE) == set(CRYSTAL_ELEMENTS)


def test_crystals_like_given_ones_have_their_places_and_like_elements() -> None:
    mine = [crystal_of("NaCl"), bulk("Ti", "hcp", a=2.95, c=4.68)]
    chemistry = LikeChemistry(mine, CRYSTAL_ELEMENTS, 40)
    drawn = [chemistry.draw(generator(1, index)) for index in range(300)]
    metals, salts = [], []
    for made in drawn:
        assert made is not None
        first = mine[int(made.prototype.name[-1])]
        assert np.allclose(made.atoms.get_scaled_positions(), first.get_scaled_positions())
        assert len(set(made.atoms.numbers)) == len(set(first.numbers))  # two elements never become one
        (salts if len(first) == 8 else metals).append(made.atoms)
    assert np.mean([int(a.numbers[1]) in NONMETALS for a in salts]) > 0.85
    near = Counter(SYMBOLS[a.numbers[0]] for a in salts)
    assert sum(near[name] for name in "K Rb Cs Na Li Ba Sr Ca Eu Yb Lu Tm".split()) > 0.6 * len(salts)
    assert len({a.get_chemical_formula() for a in salts}) > 60
    titanium = [a for a in metals if SYMBOLS[a.numbers[0]] == "Ti"]
    assert titanium and np.allclose(
        titanium[0].get_volume(), mine[1].get_volume()
    )  # the same elements, the same cell
    caesium = [
        a for a in salts if SYMBOLS[a.numbers[0]] in ("Cs", "Rb") and SYMBOLS[a.numbers[1]] in ("Br", "I")
    ]
    assert all(a.get_volume() > mine[0].get_volume() for a in caesium)


def test_half_of_the_crystals_are_like_those_of_a_file(tmp_path: Path) -> None:
    write(tmp_path / "mine.extxyz", [crystal_of("NaCl"), molecule("H2O")])
    found = sample("crystals", count=200, like=[tmp_path / "mine.extxyz"], shares={"dimer": 0, "mixture": 0})
    like = [a for a in found.frames if a.info.get("prototype") == "mine.extxyz@0"]
    assert 70 < len(like) < 130
    assert all(x.info.get("prototype") != "mine.extxyz@1" for x in found.frames)  # a molecule has no type


def test_compounds_that_are_excluded_in_one_structure_are_not_drawn_like_another(tmp_path: Path) -> None:
    listed = tmp_path / "holdout.txt"
    listed.write_text("NaCl rocksalt\n")
    settings = dict(count=60, elements=["Na", "Cl"], like=[crystal_of("NaCl")], shares={"dimer": 0})

    def like(result: SampleResult) -> set[str]:
        return {a.info["composition"] for a in result.frames if a.info.get("prototype") == "structure-0"}

    assert "ClNa" in like(sample("crystals", **settings))
    found = sample("crystals", exclude=listed, **settings)
    assert "ClNa" not in like(found)
    mixtures = [a.info["composition"] for a in found.frames if a.info["sample_kind"] == "mixture"]
    assert mixtures and "ClNa" not in mixtures


def test_like_needs_crystals_that_fit() -> None:
    with pytest.raises(UsageError, match="at most 4 atoms"):
        sample("crystals", count=5, atoms=(1, 4), like=[crystal_of("NaCl")])
    polonium = Atoms("Po", cell=[3.35] * 3, pbc=True)
    with pytest.raises(UsageError, match="without Po to Ra"):
        sample("crystals", count=5, like=[polonium])
    with pytest.raises(UsageError, match="those of crystals"):
        sample("molecules", count=5, like=[crystal_of("NaCl")])


RELAXED = dict.fromkeys(CRYSTAL_SHARES, 0.0) | {"relaxed": 1.0}


def test_relaxed_crystals_are_nearer_to_a_minimum_of_the_calculator_than_rattled_ones() -> None:
    settings = dict(count=12, elements=["Cu", "Ni", "Al"], atoms=(2, 8))
    rattled = dict.fromkeys(CRYSTAL_SHARES, 0.0) | {"rattled": 1.0}

    def largest(found: SampleResult) -> list[float]:
        forces = []
        for atoms in found.frames[3:]:
            atoms.calc = EMT()
            forces.append(float(np.abs(atoms.get_forces()).max()))
        return forces

    near = sample("crystals", **settings, shares=RELAXED, calc=EMT())
    assert {a.info["sample_kind"] for a in near.frames[3:]} == {"relaxed"}
    assert np.median(largest(near)) < 0.3 * np.median(largest(sample("crystals", **settings, shares=rattled)))


def test_a_seed_draws_the_same_relaxed_crystals() -> None:
    settings = dict(count=3, elements=["Cu", "Ni"], atoms=(2, 4), shares=RELAXED, calc=EMT())
    for one, other in zip(sample("crystals", **settings).frames, sample("crystals", **settings).frames):
        assert np.array_equal(one.positions, other.positions) and np.array_equal(one.cell, other.cell)


def test_what_the_calculator_cannot_relax_is_counted_with_its_reason() -> None:
    found = sample("crystals", count=3, elements=["Na", "Cl"], shares=RELAXED, calc=EMT())
    assert found.missing == 3 and found.refused["relaxation: NotImplementedError"] > 30


class Explosive(Calculator):  # type: ignore[misc]
    """Pushes the cell outwards without end."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms=None, properties=(), system_changes=()):  # type: ignore[no-untyped-def]
        super().calculate(atoms, properties, system_changes)
        self.results = {
            "energy": -atoms.get_volume(),
            "forces": np.zeros((len(atoms), 3)),
            "stress": -np.array([1.0] * 3 + [0] * 3),
        }


def test_a_relaxation_that_runs_away_is_refused() -> None:
    crystal = bulk("Cu")
    with pytest.raises(Refused, match="ran away"):
        for index in range(20):
            relaxed(generator(0, index), crystal, Explosive())
