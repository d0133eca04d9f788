"""A set is the same however it is cut, and a stopped run goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones

from jmp_calc.errors import UsageError
from jmp_calc.io.structures import read_frames
from jmp_calc.sampling import run
from jmp_calc.sampling.parts import claim_parts
from jmp_calc.sampling.sample import sample
from jmp_calc.sampling.settings import SampleSettings, read_atoms
from tests.sampling.conftest import NEEDS_RDKIT


def positions(frames) -> list[np.ndarray]:  # type: ignore[no-untyped-def]
    return [atoms.positions for atoms in frames]


@NEEDS_RDKIT
def test_two_processes_draw_what_one_draws(tmp_path: Path) -> None:
    settings = dict(count=70, atoms=(5, 12), shares={"thermal": 0.0})
    alone = sample("molecules", out=tmp_path / "one", **settings)
    together = sample("molecules", out=tmp_path / "two", processes=2, **settings)
    assert (tmp_path / "one/samples.extxyz").read_bytes() == (tmp_path / "two/samples.extxyz").read_bytes()
    assert alone.to_dict() == together.to_dict()
    assert sorted(p.name for p in (tmp_path / "two").iterdir() if p.name[0] != ".") == ["samples.extxyz"]


@NEEDS_RDKIT
def test_shards_are_parts_of_the_whole() -> None:
    whole = {a.info["sample_id"]: a for a in sample("molecules", count=30, atoms=(5, 12), seed=3).frames}
    shard = sample("molecules", count=10, start=20, atoms=(5, 12), seed=3).frames
    assert shard and "isolated" not in {a.info["sample_kind"] for a in shard}
    for atoms in shard:
        assert np.array_equal(whole[atoms.info["sample_id"]].positions, atoms.positions)


@NEEDS_RDKIT
def test_other_seeds_draw_other_molecules() -> None:
    first, second = (
        sample("molecules", count=10, atoms=(14, 18), seed=seed, shares={"dimer": 0}).frames[12:]
        for seed in (0, 1)
    )
    assert not {a.info["graph"] for a in first} & {a.info["graph"] for a in second}


@NEEDS_RDKIT
def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sample("molecules", count=120, atoms=(4, 9))
    make, made = run.make_part, []

    def stops_at_the_second(settings, part):  # type: ignore[no-untyped-def]
        if len(made) == 1:
            raise KeyboardInterrupt
        made.append(make(settings, part))
        return made[-1]

    monkeypatch.setattr(run, "make_part", stops_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        sample("molecules", count=120, atoms=(4, 9), out=tmp_path)
    monkeypatch.setattr(run, "make_part", lambda s, p: made.append(make(s, p)))
    sample("molecules", count=120, atoms=(4, 9), out=tmp_path)
    assert len(made) == 3
    found = read_frames(tmp_path / "samples.extxyz")
    assert all(map(np.array_equal, positions(found), positions(whole.frames)))
    assert [a.info for a in found] == [a.info for a in whole.frames]


def test_parts_of_other_samples_are_not_gone_on_with(tmp_path: Path) -> None:
    crystal, ion, moments = bulk("Cu"), bulk("Cu"), bulk("Cu")
    ion.info["charge"] = 1
    moments.set_initial_magnetic_moments([1.0])
    own = dict(what="structures", structures=(crystal,))
    given = [
        dict(own),
        dict(own, structures=(ion,)),
        dict(own, structures=(moments,)),
        dict(own, calc=LennardJones()),
        dict(own, calc=LennardJones(sigma=2.0)),
        dict(what="crystals"),
        dict(what="crystals", calc=LennardJones(sigma=2.0)),
        dict(what="crystals", calc=LennardJones(sigma=3.0)),
    ]
    for number, settings in enumerate(given):
        claim_parts(tmp_path, SampleSettings(**settings))
        left = [path for path in tmp_path.iterdir() if path.name.startswith("made")]
        assert not left, settings
        (tmp_path / f"made-{number}").write_text("x")
        claim_parts(tmp_path, SampleSettings(**{**settings, "count": 2000}))
        assert (tmp_path / f"made-{number}").exists()


@pytest.mark.parametrize(
    "given, fact",
    [
        (dict(count=0), "count"),
        (dict(start=-1), "start"),
        (dict(atoms=(9, 3)), "atoms"),
        (dict(elements=("H", "Xx")), "Xx"),
        (dict(shares={"conformation": 1}), "conformation"),
        (dict(shares={"dimer": -1}), "Shares"),
        (dict(shares={"dimer": float("nan")}), "Shares"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given, fact: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=fact):
        SampleSettings(what="molecules", **given)


@pytest.mark.parametrize("text, pair", [("10-30", (10, 30)), ("7", (7, 7)), ("a", None), ("-3", None)])
def test_ranges_of_atoms(text: str, pair: tuple[int, int] | None) -> None:
    if pair is not None:
        assert read_atoms(text) == pair
        return
    with pytest.raises(UsageError, match="range"):
        read_atoms(text)


def test_without_rdkit_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jmp_calc.sampling.rdkit_extra.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"RDKit, which is not installed.*jmp-calc\[sample\]"):
        sample("molecules", count=3)
