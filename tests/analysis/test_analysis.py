"""Structure, motion and averages against what is known exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.geometry.rdf import get_rdf

from jmp_calc import analyse
from jmp_calc.analysis.blocks import block_average
from jmp_calc.analysis.frames import path_of
from jmp_calc.analysis.motion import autocorrelation, mean_square_displacement
from jmp_calc.analysis.structure import radial_distribution
from jmp_calc.analysis.table import read_table
from jmp_calc.errors import BadInputError, JMPWarning, UsageError
from jmp_calc.units import CM1_PER_INVERSE_FS

RNG = np.random.default_rng(7)


def frames_of(positions: np.ndarray, step_fs: float = 2.0, **kind: object) -> list[Atoms]:
    """Positions (n, atoms, 3) as frames of argon with their times."""
    kind = {"symbols": f"Ar{positions.shape[1]}", **kind}
    return [Atoms(positions=p, info={"time_fs": step_fs * i}, **kind) for i, p in enumerate(positions)]


def test_neighbours_of_a_crystal_are_counted_and_lie_where_they_are() -> None:
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True) * 3
    rdf = radial_distribution([atoms], 5.0, 250)
    inside = rdf.neighbours["all"][np.searchsorted(rdf.r, 3.0)]
    assert inside == pytest.approx(12)
    assert rdf.neighbours["all"][-1] == pytest.approx(12 + 6 + 24)
    assert rdf.highest_at() == pytest.approx(3.6 / 2**0.5, abs=0.02)


def test_an_ideal_gas_has_no_structure_and_pairs_add_up() -> None:
    gas = [Atoms("Ar40Ne20", RNG.uniform(0, 12, (60, 3)), cell=[12, 12, 12], pbc=True) for _ in range(60)]
    rdf = radial_distribution(gas, 6.0, 12)
    assert rdf.g["Ne-Ar"][3:] == pytest.approx(np.ones(9), abs=0.12)
    assert rdf.g["Ar-Ar"][3:] == pytest.approx(np.full(9, 39 / 40), abs=0.12)
    shares = {"Ar-Ar": 40 * 40, "Ne-Ar": 2 * 40 * 20, "Ne-Ne": 20 * 20}
    added = sum(shares[pair] * g for pair, g in rdf.g.items() if pair != "all") / 60**2
    assert rdf.g["all"] == pytest.approx(added)


@pytest.mark.capability("C10")
def test_g_of_r_is_that_of_ase() -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True) * 2
    atoms.rattle(0.2, seed=1)
    ours = radial_distribution([atoms], 5.0, 50)
    exact, r = get_rdf(atoms, 5.0, 50)
    assert ours.r == pytest.approx(r)
    assert ours.g["all"] == pytest.approx(exact)


def test_a_cell_that_is_smaller_than_the_distances_counts_its_images() -> None:
    small, large = bulk("Cu", "fcc", a=3.6), bulk("Cu", "fcc", a=3.6, cubic=True) * 3
    one, many = (radial_distribution([atoms], 5.03, 100).g["all"] for atoms in (small, large))
    assert one == pytest.approx(many)


def test_sums_over_origins_are_those_of_loops() -> None:
    walk = np.cumsum(RNG.standard_normal((40, 3, 3)), axis=0) + 100.0
    loop = [np.mean(((walk[lag:] - walk[: len(walk) - lag]) ** 2).sum(axis=2)) for lag in range(len(walk))]
    assert mean_square_displacement(walk) == pytest.approx(loop, abs=1e-8)
    series = RNG.standard_normal((30, 4))
    loop = [np.mean((series[lag:] * series[: 30 - lag]).sum(axis=1)) for lag in range(30)]
    assert autocorrelation(series) == pytest.approx(loop)


def ornstein_uhlenbeck(n: int, atoms: int, kt_m: float, gamma: float, dt: float) -> np.ndarray:
    """Exact free Langevin motion: positions (n, atoms, 3)."""
    decay = np.exp(-gamma * dt)
    v = RNG.standard_normal((atoms, 3)) * kt_m**0.5
    covariance = kt_m * np.array(
        [
            [(2 * gamma * dt - 3 + 4 * decay - decay**2) / gamma**2, (1 - decay) ** 2 / gamma],
            [(1 - decay) ** 2 / gamma, 1 - decay**2],
        ]
    )
    factor = np.linalg.cholesky(covariance)
    x, found = np.zeros((atoms, 3)), []
    for _ in range(n):
        noise = np.einsum("ij,jak->iak", factor, RNG.standard_normal((2, atoms, 3)))
        x, v = x + v * (1 - decay) / gamma + noise[0], decay * v + noise[1]
        found.append(x)
    return np.array(found)


@pytest.mark.capability("C10")
def test_free_langevin_particles_diffuse_with_kt_over_m_gamma() -> None:
    kt_m, gamma, dt = 6e-6, 0.01, 20.0  # argon at 290 K in Å²/fs², 1/fs, fs
    result = analyse(frames_of(ornstein_uhlenbeck(3000, 60, kt_m, gamma, dt), dt), discard=0.0)
    found = result.msd.diffusion["Ar"]
    exact = 0.1 * kt_m / gamma * 59 / 60  # less the centre of mass
    assert found.diffusive
    assert found.standard_error_cm2_per_s < 0.15 * exact
    assert found.cm2_per_s == pytest.approx(exact, abs=4 * found.standard_error_cm2_per_s)
    assert result.rdf is None
    assert result.vacf is None


def test_vibrating_atoms_do_not_diffuse() -> None:
    rattled = 5.0 * np.arange(10)[:, None] + 0.1 * RNG.standard_normal((400, 10, 3))
    found = analyse(frames_of(rattled)).msd.diffusion["Ar"]
    assert not found.diffusive
    assert found.exponent < 0.2


@pytest.mark.capability("C10")
def test_the_spectrum_has_a_peak_where_the_oscillator_has_it() -> None:
    step, wavenumber = 4.0, 500.0
    t = step * np.arange(4000)
    omega = 2 * np.pi * wavenumber / CM1_PER_INVERSE_FS
    signs = np.array([[1.0, 0, 0], [-1.0, 0, 0]])
    frames = frames_of(np.cos(omega * t)[:, None, None] * signs * 0.1 + [[[0, 0, 0]], [[3, 0, 0]]][0], step)
    for atoms, time in zip(frames, t, strict=True):
        atoms.set_velocities(-0.1 * omega * np.sin(omega * time) * signs / units.fs)
    found = analyse(frames, discard=0.0).vacf
    assert found is not None
    assert found.wavenumbers_cm1[np.argmax(found.density)] == pytest.approx(wavenumber, abs=3.0)
    assert found.density.sum() * found.wavenumbers_cm1[1] == pytest.approx(1.0)
    assert found.correlation[:100] == pytest.approx(np.cos(omega * t[:100]), abs=0.01)
    assert found.highest_cm1 == pytest.approx(CM1_PER_INVERSE_FS / 8)


def test_hydrogen_in_coarse_frames_is_a_warning() -> None:
    frames = frames_of(RNG.standard_normal((20, 2, 3)), 10.0, symbols="H2")
    for atoms in frames:
        atoms.set_velocities(RNG.standard_normal((2, 3)))
    with pytest.warns(JMPWarning, match="up to 1668 cm⁻¹ only"):
        analyse(frames)


def test_wrapped_atoms_are_followed_through_a_breathing_cell() -> None:
    steps = 0.2 * RNG.standard_normal((60, 5, 3))
    walk = np.cumsum(steps, axis=0) + RNG.uniform(0, 6, (5, 3))
    cells = [np.diag([6.0, 7.0, 8.0]) * (1 + 0.01 * np.sin(i)) for i in range(60)]
    mean = np.mean(cells, axis=0)
    frames = []
    for i, (p, cell) in enumerate(zip(walk, cells, strict=True)):
        scaled = p @ np.linalg.inv(mean)
        atoms = Atoms("Ar5", scaled_positions=scaled, cell=cell, pbc=True, info={"time_fs": float(i)})
        atoms.wrap()
        frames.append(atoms)
    found = path_of(frames, None, 0.0).positions
    exact = walk - walk.mean(axis=1, keepdims=True)
    assert found - found[0] == pytest.approx(exact - exact[0], abs=1e-9)


def walks(n: int, atoms: int, step_a: float) -> np.ndarray:
    """Random walks (n, atoms, 3), Å."""
    return np.cumsum(step_a * RNG.standard_normal((n, atoms, 3)), axis=0) + RNG.uniform(0, 8, (atoms, 3))


def test_paths_that_nobody_wrapped_are_taken_as_they_are() -> None:
    walk = walks(400, 20, 3.0)  # in a cell of 8 Å: steps of more than half of it are common
    frames = frames_of(walk, cell=[8.0, 8.0, 8.0], pbc=True)
    found = path_of(frames, None, 0.0).positions
    exact = walk - walk.mean(axis=1, keepdims=True)
    assert found == pytest.approx(exact, abs=1e-9)


def test_wrapped_paths_with_long_steps_are_a_warning() -> None:
    frames = frames_of(walks(100, 20, 2.0), cell=[8.0, 8.0, 8.0], pbc=True)
    for atoms in frames:
        atoms.wrap()
    with pytest.warns(JMPWarning, match="good part of the cell between frames"):
        analyse(frames, r_max=3.0)


@pytest.mark.parametrize("how", ["constraint", "at rest"])
def test_beside_atoms_that_are_held_others_diffuse_as_they_do(how: str) -> None:
    walk = np.zeros((3000, 28, 3))
    walk[:] = 3.0 * np.arange(28)[:, None]
    walk[:, 8:] += np.cumsum(0.1 * RNG.standard_normal((3000, 20, 3)), axis=0)
    frames = frames_of(walk, symbols="Al8Au20")
    if how == "constraint":
        for atoms in frames:
            atoms.set_constraint(FixAtoms(range(8)))
            atoms.set_velocities(np.ones((28, 3)))
    result = analyse(frames, discard=0.0)
    exact = 0.1 * 0.1**2 / (2 * 2.0)  # σ²/(2 dt), Å²/fs in cm²/s
    found = result.msd.diffusion["Au"]
    assert found.cm2_per_s == pytest.approx(exact, abs=5 * found.standard_error_cm2_per_s)
    assert found.standard_error_cm2_per_s < 0.3 * exact
    assert result.msd.a2["Al"].max() == 0.0
    assert not result.msd.diffusion["Al"].diffusive
    if how == "constraint":
        assert result.vacf is not None
        assert result.vacf.correlation == pytest.approx(1.0)


@pytest.mark.parametrize("pbc", [(True, True, False), (False, True, False), (True, True, True)])
def test_diffusion_in_layers_and_wires_is_along_their_periods(pbc: tuple[bool, bool, bool]) -> None:
    walk = walks(3000, 40, 0.3) * np.where(pbc, 1.0, 0.0)
    cell = np.array([[30.0, 0, 0], [15.0, 26.0, 0], [0, 0, 30.0]])
    if pbc[0] != pbc[1]:
        walk = walk[..., 1:2] * cell[1] / np.linalg.norm(cell[1])
    result = analyse(frames_of(walk, cell=cell, pbc=pbc), discard=0.0, r_max=5.0)
    found = result.msd.diffusion["Ar"]
    exact = 0.1 * 0.3**2 / (2 * 2.0) * 39 / 40
    assert result.msd.dimensions == sum(pbc) == result.to_dict()["diffusion_dimensions"]
    assert found.cm2_per_s == pytest.approx(exact, abs=5 * found.standard_error_cm2_per_s)
    assert found.standard_error_cm2_per_s < 0.1 * exact


def test_errors_of_correlated_series_are_those_of_theory() -> None:
    """x(t+1) = a·x(t) + noise: the variance of the mean is (1+a)/(1-a) times that of independent values."""
    a, n = 0.9, 20000
    x = np.zeros(n)
    for i, noise in enumerate(RNG.standard_normal(n)[1:], start=1):
        x[i] = a * x[i - 1] + noise
    found = block_average(5.0 + x)
    exact = np.sqrt((1 + a) / (1 - a) / (1 - a**2) / n)
    assert found.converged
    assert found.standard_error == pytest.approx(exact, rel=0.25)
    assert found.mean == pytest.approx(5.0, abs=4 * exact)
    assert block_average(RNG.standard_normal(5000)).block_length < 100


@pytest.mark.parametrize(("tau", "n"), [(0.01, 300), (5.0, 500), (50.0, 5000)])
def test_errors_of_correlated_series_are_not_too_small(tau: float, n: int) -> None:
    """Means of many series lie within two of their own errors as often as a normal distribution says."""
    a, repeats = np.exp(-1 / tau), 200
    x = np.zeros((n, repeats))
    x[0] = RNG.standard_normal(repeats)
    for i in range(1, n):
        x[i] = a * x[i - 1] + np.sqrt(1 - a**2) * RNG.standard_normal(repeats)
    found = [block_average(series) for series in x.T]
    errors = np.array([one.standard_error for one in found])
    true = float(np.std([one.mean for one in found]))
    assert np.mean([one.converged for one in found]) > 0.7
    assert errors.mean() == pytest.approx(true, rel=0.15)
    assert np.mean(np.abs([one.mean for one in found]) > 2 * errors) < 0.18


def test_a_series_that_drifts_has_no_error_that_can_be_told() -> None:
    assert not block_average(np.linspace(0, 1, 1000)).converged
    flat = block_average(np.full(100, 2.0))
    assert (flat.mean, flat.standard_error, flat.converged) == (2.0, 0.0, True)


@pytest.mark.parametrize(
    "change, kind, message",
    [
        (lambda f: f[:8], UsageError, "too few"),
        (lambda f: [*f[:20], f[20][[0]], *f[21:]], BadInputError, "same atoms"),
        (lambda f: [*f[:20], *f[25:]], BadInputError, "equally spaced"),
        (lambda f: f[::-1], BadInputError, "equally spaced"),
        (lambda f: [a for a in f if not a.info.clear()], UsageError, "at which time"),
        (lambda f: [a for a in f if a.positions.__setitem__((0, 0), np.nan) is None], BadInputError, "NaN"),
    ],
    ids=["few", "others", "gap", "backwards", "no-times", "nan"],
)
def test_what_is_no_trajectory_is_a_sentence(change, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        analyse(change(frames_of(RNG.standard_normal((40, 2, 3)))))


@pytest.mark.parametrize(
    "settings", [{"discard": 1.0}, {"discard": -0.1}, {"frame_fs": 0.0}, {"r_max": float("nan")}, {"bins": 1},
                 {"blocks": 2}],
)  # fmt: skip
def test_settings_that_cannot_be_meant(settings: dict) -> None:
    with pytest.raises(UsageError, match=next(iter(settings)).partition("_")[0]):
        analyse(frames_of(RNG.standard_normal((40, 2, 3))), **settings)


@pytest.mark.parametrize(
    "text", ["", "step 1\n", "# step T\n1 2\n3\n", "# step T\n1 x\n", "# step T\n1 nan\n"]
)
def test_a_damaged_table_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "stats.dat").write_text(text)
    with pytest.raises(BadInputError, match="no (sound )?table"):
        read_table(tmp_path / "stats.dat")


def test_averages_are_of_the_part_whose_frames_are_analysed(tmp_path: Path) -> None:
    times = 2.0 * np.arange(200)
    rows = np.column_stack([np.arange(200), times, np.where(times < 200, 100.0, 300.0)])
    np.savetxt(tmp_path / "stats.dat", rows, header="step  time_fs  temperature_K")
    frames = frames_of(RNG.standard_normal((200, 2, 3)))
    last = analyse(frames[100:], table=tmp_path / "stats.dat", discard=0.0)
    whole = analyse(frames, table=tmp_path / "stats.dat", discard=0.0)
    assert last.averages["temperature_K"].mean == 300.0
    assert whole.averages["temperature_K"].mean == 200.0
    untimed = analyse(frames[100:], table=tmp_path / "stats.dat", discard=0.0, frame_fs=2.0)
    assert untimed.averages["temperature_K"].mean == 200.0


def test_molecules_that_are_wrapped_whole_diffuse_as_unwrapped_ones() -> None:
    """Long molecules that turn, with the centre put back into the cell: an end goes from the cell before to
    that behind."""
    steps = RNG.normal(0, 0.25, (400, 6, 3))
    centres = np.cumsum(steps, axis=0) + RNG.uniform(0, 10, (6, 3))
    angle = np.linspace(0, 6 * np.pi, 400)
    one_end = np.stack([4 * np.cos(angle), 4 * np.sin(angle), 0 * angle], axis=1)
    ends = np.stack([one_end, -one_end], axis=1)[:, None]
    cell = {"cell": [10, 10, 10], "pbc": True}
    free = (centres[:, :, None] + ends).reshape(400, 12, 3)
    whole = ((centres % 10)[:, :, None] + ends).reshape(400, 12, 3)
    assert np.ptp(np.floor(whole / 10), axis=0).max() == 2
    truth, found = (path_of(frames_of(places, **cell), None, 0.0).positions for places in (free, whole))
    assert found - found[0] == pytest.approx(truth - truth[0], abs=1e-9)


def test_times_count_the_frames_that_are_left_out() -> None:
    frames = frames_of(np.cumsum(RNG.standard_normal((100, 3, 3)), axis=0))
    given, stated = (path_of(frames, frame_fs, 0.3).times_fs for frame_fs in (2.0, None))
    assert given == pytest.approx(stated)


def test_free_flight_is_no_diffusion() -> None:
    speeds = RNG.standard_normal((1, 20, 3))
    flight = frames_of(np.arange(200)[:, None, None] * 0.05 * speeds)
    result = analyse(flight).msd.diffusion["Ar"]
    assert result.exponent == pytest.approx(2, abs=0.05) and not result.diffusive
