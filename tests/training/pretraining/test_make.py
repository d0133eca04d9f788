"""A stage makes its own frames: sampled from its seed, labelled by a teacher, and only once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk
from ase.io import read, write

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.training.data.frame import Frame
from jmp_calc.training.data.labels import read_labelled
from jmp_calc.training.pretraining.build_pack import build
from jmp_calc.training.pretraining.compounds import formula_of, is_compound, validates
from jmp_calc.training.pretraining.made import Made
from jmp_calc.training.pretraining.make import Makers, Teacher, crystals_that_train, make_missing, read_makers
from jmp_calc.training.pretraining.mixture import Mixture, mixture_of
from jmp_calc.training.pretraining.pack import Packed, load_packed, save_packed
from jmp_calc.training.pretraining.shards import Shards
from tests.training.helpers.mixture_data import labelled

CONTENT: dict[str, Any] = {
    "mixture": {"name": "made", "default_head": "emt", "max_degree": 150},
    "heads": {"emt": {"level_of_theory": "EMT"}},
    "sets": {
        "alloys": {
            "head": "emt",
            "max_force": 60.0,
            "made": {
                "sample": "crystals",
                "calculator": "ase.calculators.emt:EMT",
                "elements": ["Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au"],
                "frames": 30,
                "valid_frames": 8,
            },
        }
    },
}


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    return mixture_of(CONTENT)


@pytest.fixture(scope="module")
def shards(mixture: Mixture, tmp_path_factory: pytest.TempPathFactory) -> Shards:
    shards = Shards(tmp_path_factory.mktemp("shards"), 1)
    make_missing(mixture, shards, 7, Makers({}), lambda line: None)
    return shards


def test_frames_are_made_once(mixture: Mixture, shards: Shards) -> None:
    lines: list[str] = []
    make_missing(mixture, shards, 7, Makers({}), lines.append)
    assert not lines


def test_another_stage_has_other_structures_and_the_same_validation(mixture: Mixture, shards: Shards) -> None:
    other, item = Shards(shards.folder, 2), mixture.sets[0]
    valid = shards.valid(item).read_bytes()
    make_missing(mixture, other, 8, Makers({}), lambda line: None)
    assert shards.valid(item).read_bytes() == valid
    first, second = (read_labelled(shard.train(item), require=()).frames for shard in (shards, other))
    places = [{frame.positions.tobytes() for frame in frames} for frames in (first, second)]
    assert places[0].isdisjoint(places[1])


def test_another_draw_of_the_same_sample_has_other_structures(tmp_path: Path) -> None:
    sets = {}
    for name, draw in (("first", 0), ("same", 0), ("other", 1)):
        made = {**CONTENT["sets"]["alloys"]["made"], "frames": 6, "valid_frames": 0, "draw": draw}
        sets[name] = {**CONTENT["sets"]["alloys"], "made": made}
    mixture, shards = mixture_of({**CONTENT, "sets": sets}), Shards(tmp_path, 1)
    make_missing(mixture, shards, 7, Makers({}), lambda line: None)
    frames = {item.name: read_labelled(shards.train(item), require=()).frames for item in mixture.sets}
    places = {name: {frame.positions.tobytes() for frame in found} for name, found in frames.items()}
    assert places["first"] == places["same"]
    assert places["first"].isdisjoint(places["other"])


def like_mixture(**made: Any) -> Mixture:
    """Alloys that are made like those of a file of copper and nickel."""
    alloys = CONTENT["sets"]["alloys"]
    sets = {
        "known": {"head": "emt", "files": ["known.xyz"], "split": "composition"},
        "alloys": {**alloys, "made": {**alloys["made"], "valid_frames": 4, "like": ["known"], **made}},
    }
    return mixture_of({**CONTENT, "sets": sets})


def test_half_of_the_crystals_of_a_stage_are_like_those_that_train(tmp_path: Path) -> None:
    frames = [bulk("Cu", cubic=True) for _ in range(12)]
    for number, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=number)
        atoms.symbols[: number % 4] = "Ni"
    write(tmp_path / "known.xyz", [labelled(atoms) for atoms in frames], format="extxyz")
    mixture, shards = like_mixture(), Shards(tmp_path / "shards", 1)
    make_missing(mixture, shards, 7, Makers({}), lambda line: None, tmp_path)
    item = mixture.sets[1]
    train, valid = (read_labelled(path(item), require=()).frames for path in (shards.train, shards.valid))

    def like(found: list[Frame]) -> list[Frame]:
        return [frame for frame in found if (frame.prototype or "").startswith("structure-")]

    assert len(like(train)) > 5 and not like(valid)


def test_crystals_are_not_like_those_that_validate(tmp_path: Path) -> None:
    frames = [bulk("CuNi", "cesiumchloride", a=2.9).repeat((n, 1, 1)) for n in range(1, 4)]
    for number, name in enumerate(
        ["AgPd", "AuPd", "AlPt", "AgPt", "AuCu", "AlCu", "AlNi", "AgNi", "AuNi"] * 3
    ):
        frames.append(bulk(name, "cesiumchloride", a=2.9 + 0.01 * number))
    write(tmp_path / "known.xyz", [labelled(atoms) for atoms in frames], format="extxyz")
    mixture = like_mixture()
    made = mixture.sets[1].made
    assert made is not None
    lent = {formula_of(atoms.numbers) for atoms in crystals_that_train(mixture, made, tmp_path)}
    assert "AlNi" not in lent and validates("AlNi")
    assert lent > {"AgPd", "AuPd", "AgNi"} and not any(map(validates, lent))


def test_crystals_cannot_be_like_those_of_a_set_without_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="like 'knwon', which is no set with files"):
        like_mixture(like=["knwon"])
    with pytest.raises(UsageError, match="there are no data"):
        make_missing(like_mixture(), Shards(tmp_path, 1), 7, Makers({}), lambda line: None)


def test_half_of_the_crystals_of_a_stage_are_relaxed_by_a_model(tmp_path: Path) -> None:
    made = {**CONTENT["sets"]["alloys"]["made"], "frames": 8, "valid_frames": 2, "elements": ["Al", "Ni"]}
    made |= {"relaxed_by": "jmp-xs-v4", "relaxed_head": "pbe"}
    sets = {"alloys": {**CONTENT["sets"]["alloys"], "made": made}}
    mixture, shards = mixture_of({**CONTENT, "sets": sets}), Shards(tmp_path, 1)
    make_missing(mixture, shards, 7, Makers({}), lambda line: None)
    kinds = {
        part.name: [
            a.info["sample_kind"] for file in part.glob("crystals-*/samples.extxyz") for a in read(file, ":")
        ]
        for part in shards.parts
    }
    train, valid = (kinds[part.name] for part in shards.parts)
    assert 2 <= train.count("relaxed") <= 6 and "relaxed" not in valid


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"relaxed_by": "jmp-xs-v4"}, "needs a head"),
        ({"relaxed_head": "pbe"}, "needs a head"),
        ({"relaxed_by": "jmp-xs-v4", "relaxed_head": "pbe", "sample": "molecules"}, "Crystals alone"),
    ],
)
def test_what_relaxes_is_a_model_with_a_head(changed: dict[str, str], said: str) -> None:
    made = {"sample": "crystals", "calculator": "emt", "frames": 3, **changed}
    with pytest.raises(UsageError, match=said):
        Made(**made)  # type: ignore[arg-type]


def test_compounds_that_validate_are_not_trained_on(mixture: Mixture, shards: Shards) -> None:
    packed: Packed = build(mixture, shards.folder, shards, say=lambda line: None)
    formulas = [[], []]  # type: ignore[var-annotated]
    for i in range(len(packed)):
        formula = formula_of(packed.frame(i).numbers)
        if is_compound(formula) and packed.pbc[i].all():  # dimers of all pairs are trained on
            formulas[bool(packed.valid[i])].append(formula)
    assert formulas[0]
    assert set(formulas[0]).intersection(formulas[1]) == set()
    assert not any(validates(formula) for formula in formulas[0])


def test_the_pack_says_who_labelled_and_what_was_made(
    mixture: Mixture, shards: Shards, tmp_path: Path
) -> None:
    packed = build(mixture, shards.folder, shards, say=lambda line: None)
    made = packed.sets[0].made
    assert made is not None
    assert made.labels.startswith("emt (ase ")
    assert sum(made.kinds.values()) == packed.sets[0].n_train
    assert 1 < made.subjects <= packed.sets[0].n_train
    save_packed(tmp_path / "pack.npz", packed, {})
    assert load_packed(tmp_path / "pack.npz").sets[0] == packed.sets[0]


def test_frames_without_the_name_of_their_teacher_are_refused(shards: Shards, mixture: Mixture) -> None:
    other = Shards(shards.folder, 9)
    path = other.train(mixture.sets[0])
    path.parent.mkdir(parents=True)
    path.write_bytes(shards.train(mixture.sets[0]).read_bytes())
    with pytest.raises(BadInputError, match="who labelled"):
        build(mixture, shards.folder, other, say=lambda line: None)


def test_teachers_are_named_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "teachers.yaml"
    path.write_text("processes: 2\nteachers:\n  ani2x: {python: /envs/ani/bin/python, weights: ani.tar.xz}\n")
    assert read_makers(path) == Makers({"ani2x": Teacher("/envs/ani/bin/python", "ani.tar.xz")}, 2)
    path.write_text("teachers:\n  ani2x: {pyton: /envs/ani/bin/python}\n")
    with pytest.raises(UsageError, match="Unknown key 'pyton'"):
        read_makers(path)
