"""Nudged elastic bands: a known barrier, one batch a step, the same numbers after a resume, ends that fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixBondLength

from jmp_calc import JMPCalculator, neb
from jmp_calc.errors import BadInputError, JMPWarning, NotConvergedError, UsageError
from jmp_calc.workflows.paths.ends import matching
from jmp_calc.workflows.paths.result import OUTPUTS, STATE
from jmp_calc.workflows.paths.settings import NEBSettings

HEIGHT, BEND, WALL = 0.5, 0.6, 8.0


class Valley(Calculator):
    """The first atom in a curved valley y = BEND (1 - x²) along x with minima at x = ±1 and a saddle HEIGHT
    above them at x = 0, tilted by ``tilt`` x; all atoms are held in z. Fails at call number ``fails_at``."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, tilt: float = 0.0, fails_at: int | None = None) -> None:
        super().__init__()
        self.tilt, self.fails_at, self.calls = tilt, fails_at, 0

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = ()) -> None:
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        if self.calls == self.fails_at:
            raise KeyboardInterrupt
        (x, y, _), z = self.atoms.positions[0], self.atoms.positions[:, 2]
        off = y - BEND * (1 - x**2)
        forces = np.zeros((len(self.atoms), 3))
        forces[:, 2] = -WALL * z
        forces[0, 0] = -4 * HEIGHT * x * (x**2 - 1) - 2 * WALL * off * BEND * x - self.tilt
        forces[0, 1] = -WALL * off
        energy = HEIGHT * (x**2 - 1) ** 2 + 0.5 * WALL * (off**2 + (z**2).sum()) + self.tilt * x
        self.results = {"energy": float(energy), "forces": forces}


@pytest.fixture
def ends() -> tuple[Atoms, Atoms]:
    return Atoms("H", [[-1, 0, 0]], calculator=Valley()), Atoms("H", [[1, 0, 0]])


@pytest.mark.capability("C16")
@pytest.mark.parametrize(
    ("images", "interpolation", "optimizer"), [(4, "idpp", "FIRE"), (3, "linear", "BFGS")]
)
def test_the_climbing_image_is_at_the_saddle(
    ends: tuple[Atoms, Atoms], images: int, interpolation: str, optimizer: str
) -> None:
    """Of four images, none is at the saddle by symmetry."""
    result = neb(*ends, images=images, optimizer=optimizer, interpolation=interpolation, fmax=0.005)
    assert result.converged and result.fmax < 0.005
    assert result.barrier_ev == pytest.approx(HEIGHT, abs=1e-4) == result.barrier_back_ev
    assert result.images[result.saddle].positions[0] == pytest.approx([0, BEND, 0], abs=0.01)
    assert result.history[-1].climbing and not result.history[0].climbing
    assert f"converged after {result.n_steps} steps, barrier 0.5000 eV" in repr(result)


def test_without_climbing_the_curve_says_how_high_it_is(ends: tuple[Atoms, Atoms]) -> None:
    flat = neb(*ends, images=4, climb=False, fmax=0.02)
    assert flat.barrier_ev < HEIGHT - 0.005
    assert flat.to_dict()["curve_barrier_ev"] == pytest.approx(HEIGHT, abs=0.02)


def test_a_band_that_runs_away_is_stopped(ends: tuple[Atoms, Atoms]) -> None:
    """Two images that are equally high take turns in climbing, which BFGS cannot learn."""
    with pytest.warns(JMPWarning, match="the band ran away.*FIRE"):
        result = neb(*ends, images=4, optimizer="BFGS", fmax=0.005)
    assert not result.converged and result.n_steps < 500


def test_a_reaction_has_an_energy_and_two_barriers(ends: tuple[Atoms, Atoms]) -> None:
    ends[0].calc = Valley(tilt=0.1)
    result = neb(*ends, images=3, fmax=0.01, ends_fmax=1e-3)
    assert result.reaction_ev == pytest.approx(0.2, abs=0.01)
    assert result.barrier_ev - result.barrier_back_ev == pytest.approx(result.reaction_ev)
    assert (np.diff(result.path_a) > 0).all() and result.path_a[0] == 0


@pytest.mark.filterwarnings("ignore:the path has")
def test_images_are_computed_in_one_batch(
    calc: JMPCalculator, ethanol: Atoms, evaluations: list[int]
) -> None:
    final = ethanol.copy()
    final.rattle(0.2, seed=3)
    result = neb(ethanol, final, calc=calc, images=3, relax_ends=False, steps=2, climb=False, fmax=1e-6)
    assert not result.converged and result.n_steps == 2
    assert len(evaluations) == 1 + 3  # the ends, the first band and two steps
    with pytest.raises(NotConvergedError, match="Not converged after 2 steps"):
        result.require_converged()
    for image in result.images[1:-1]:
        single = image.copy()
        single.calc = calc
        assert image.calc.results["energy"] == pytest.approx(single.get_potential_energy(), abs=1e-9)
        assert image.calc.results["forces"] == pytest.approx(single.get_forces(), abs=1e-9)


def same(one: Any, other: Any) -> bool:
    """Whether two results are the same bit for bit."""
    pairs = zip(one.images, other.images, strict=True)
    return one.history == other.history and all(np.array_equal(a.positions, b.positions) for a, b in pairs)


@pytest.mark.parametrize("optimizer", ["BFGS", "FIRE"])
@pytest.mark.parametrize("stop", [2, 9])
def test_a_band_that_is_cut_off_goes_on_bit_for_bit(
    ends: tuple[Atoms, Atoms], tmp_path: Path, optimizer: str, stop: int
) -> None:
    """In the middle of a step, by an error that nobody catches, as by SIGKILL."""
    given = {"images": 3, "optimizer": optimizer, "fmax": 5e-3, "ends_fmax": 1e-3, "plot": False}
    whole = neb(*ends, **given)
    assert whole.n_steps > 8
    ends[0].calc = Valley(fails_at=4 + 3 * stop)
    with pytest.raises(KeyboardInterrupt):
        neb(*ends, **given, out=tmp_path)
    ends[0].calc = Valley()
    resumed = neb(*ends, **given, out=tmp_path, resume=True)
    assert same(resumed, whole)
    assert [step.step for step in resumed.history] == list(range(whole.n_steps + 1))
    again = neb(*ends, **given, out=tmp_path, resume=True)
    assert same(again, whole)


def test_more_steps_and_a_tighter_limit_go_on(ends: tuple[Atoms, Atoms], tmp_path: Path) -> None:
    short = neb(*ends, steps=3, fmax=0.05, out=tmp_path, plot=False)
    assert not short.converged
    assert neb(*ends, fmax=0.04, out=tmp_path, resume=True, plot=False).converged


def test_a_band_of_another_run_is_refused(ends: tuple[Atoms, Atoms], tmp_path: Path) -> None:
    neb(*ends, images=3, steps=1, out=tmp_path, plot=False)
    for change, name in (({"images": 4}, "images"), ({"spring": 1.0}, "spring"), ({"climb": False}, "climb")):
        with pytest.raises(UsageError, match=f"belongs to another run: other {name}"):
            neb(*ends, **{"images": 3, **change}, out=tmp_path, resume=True)
    ends[1].positions[0, 1] = 0.3
    with pytest.raises(UsageError, match="final positions"):
        neb(*ends, images=3, out=tmp_path, resume=True)
    (tmp_path / STATE).write_bytes((tmp_path / STATE).read_bytes()[:-100])
    with pytest.raises(BadInputError, match="not a sound state"):
        neb(*ends, images=3, out=tmp_path, resume=True)


def test_files_have_the_band_and_its_saddle(ends: tuple[Atoms, Atoms], tmp_path: Path) -> None:
    result = neb(*ends, images=3, out=tmp_path, prefix="a")
    assert {path.name for path in tmp_path.iterdir()} >= {f"a-{name}" for name in OUTPUTS}
    band = ase.io.read(tmp_path / "a-band.extxyz", ":")
    assert [image.get_potential_energy() for image in band] == pytest.approx(result.energies_ev.tolist())
    saddle = ase.io.read(tmp_path / "a-saddle.extxyz")
    assert saddle.get_potential_energy() == pytest.approx(HEIGHT, abs=5e-3)
    table = np.loadtxt(tmp_path / "a-neb.dat")
    assert table[:, 2].max() == pytest.approx(result.barrier_ev)
    assert np.loadtxt(tmp_path / "a-neb.log")[-1, 0] == result.n_steps


def test_paths_without_barrier_and_with_hollows_are_told(ends: tuple[Atoms, Atoms]) -> None:
    down = Atoms("H", [[-0.2, BEND, 0]])
    with pytest.warns(JMPWarning, match="highest image is an end"):
        neb(ends[0], down, relax_ends=False, images=3, climb=False)
    out, back = Atoms("H", [[-0.2, BEND, 0]], calculator=Valley()), Atoms("H", [[1.6, -BEND, 0]])
    with pytest.warns(JMPWarning) as told:
        neb(out, back, relax_ends=False, images=5, climb=False)
    assert any("has minima between its ends" in str(one.message) for one in told)


def test_ends_are_brought_together() -> None:
    """Across a periodic boundary, and by turning a free molecule."""
    first, last = (
        Atoms("H", [[0.2, 0, 0]], cell=[8] * 3, pbc=True),
        Atoms("H", [[7.8, 0, 0]], cell=[8] * 3, pbc=True),
    )
    _, near = matching(first, last, Valley())
    assert near.positions[0] == pytest.approx([-0.2, 0, 0])
    water, turned = molecule("H2O"), molecule("H2O")
    turned.positions[1, 1] += 0.3
    turned.rotate(70, (1, 2, 3))
    turned.translate([3, 2, 1])
    _, near = matching(water, turned, Valley())
    assert np.linalg.norm(near.positions - water.positions, axis=1).max() < 0.3


def test_fixed_atoms_stay(ends: tuple[Atoms, Atoms]) -> None:
    for end in ends:
        end.extend(Atoms("H2", [[5, 5, 0], [6, 5, 0]]))
    ends[0].set_constraint(FixAtoms([1, 2]))
    result = neb(*ends, images=3)
    assert all(np.array_equal(image.positions[1:], ends[0].positions[1:]) for image in result.images)
    assert result.barrier_ev == pytest.approx(HEIGHT, abs=5e-3)
    ends[1].positions[2, 0] += 0.1
    with pytest.raises(UsageError, match="Fixed atom 2 is elsewhere"):
        neb(*ends)


def changed(atoms: Atoms, **changes: Any) -> Atoms:
    copy = atoms.copy()
    for name, value in changes.items():
        setattr(copy, name, value)
    return copy


def test_ends_that_relax_to_one_minimum_are_refused() -> None:
    first = molecule("N2")
    first.calc = EMT()
    last = first.copy()
    last.positions[0, 2] += 0.2
    with pytest.raises(UsageError, match="a relaxation may have undone the difference"):
        neb(first, last, images=1)


def test_ends_that_no_path_connects_are_refused() -> None:
    first = molecule("CO", cell=[8] * 3, pbc=True)
    first.calc = Valley()
    moved = first.copy()
    moved.positions[0] += 1.0
    for last, message in (
        (first, "the same structure"),
        (molecule("N2", cell=[8] * 3, pbc=True), "other atoms"),
        (moved[[1, 0]], "another order: atom 0 is"),
        (changed(moved, pbc=False), "periodic in other directions"),
        (changed(moved, cell=[8, 8, 9]), "other cells: a vector differs by 1 Å"),
        (changed(moved, constraints=[FixBondLength(0, 1)]), "an end has FixBondLength"),
        (changed(moved, constraints=[FixAtoms([0])]), "other constraints"),
    ):
        with pytest.raises(UsageError, match=message):
            neb(first, last)
    with pytest.raises(UsageError, match="no calculator"):
        neb(moved, first)


def test_an_end_that_cannot_be_relaxed_is_an_error(ends: tuple[Atoms, Atoms]) -> None:
    ends[1].positions[0] = [1.4, 0.4, 0]
    with pytest.raises(NotConvergedError, match="final structure is not relaxed"):
        neb(*ends, ends_steps=1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"images": 0}, "images must be at least 1"), ({"images": 201}, "at most 200"),
        ({"fmax": 0.0}, "fmax must be positive"),
        ({"spring": float("nan")}, "spring"), ({"optimizer": "LBFGS"}, "Unknown optimizer"),
        ({"interpolation": "cubic"}, "Unknown interpolation"), ({"steps": 0}, "steps"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_meant(given: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        NEBSettings(**given)
