"""Energy and force along three paths under both policies, with the same weights: the figure of
docs/smooth.md.

    python benchmarks/jumps_figure.py      writes docs/images/jumps.png and benchmarks/results/jumps.yaml

Weights: the small official-layout model tiny-s of the official numbers (ema, float64, head ani1x: 8 Å, n =
    30). Its energies mean nothing chemically, its graphs and bases are those of the published models. The
    bends of a line of four atoms, a pair at the cutoff and an atom of aspirin whose neighbours change rank
    are moved in small steps. Every place where an edge appears or disappears is bracketed by bisection; the
    jump there is what remains of f(s0 + δ) - f(s0 - δ) at δ = 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms
from folders import add_reference_option
from numpy.typing import NDArray

from jmp_calc.graph.batch import collate
from jmp_calc.graph.build import Graph, build_graph
from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.graph.selection import smooth_for_official
from jmp_calc.model.potential import Potential
from jmp_calc.zoo.official import read_official

ROOT = Path(__file__).parent.parent
HEAD, CUTOFF, NEIGHBOURS = "ani1x", 8.0, 30
POLICIES = {
    "official": GraphPolicy("official", cutoff=CUTOFF, max_neighbors=NEIGHBOURS),
    "smooth": smooth_for_official(CUTOFF, NEIGHBOURS),
}
DELTAS = np.array([1e-4, 1e-5, 1e-6])
"""Å; jumps are extrapolated from these."""
CHUNK = 12
"""Structures evaluated at once."""
NEAR_LINE = (1e-2, 1e-3, 1e-4, 1e-5)
"""Å from the line: where the size of the force is listed."""


@dataclass(frozen=True)
class Scan:
    """One atom moved along a line: structure at s (Å), range of s, moved atom, force component shown, special
    places."""

    title: str
    path: Callable[[float], Atoms]
    low: float
    high: float
    atom: int
    direction: tuple[float, float, float]
    special: tuple[float, ...] = ()


@dataclass(frozen=True)
class Curve:
    """Energy (meV) and a component of the force on the moved atom (eV/Å) at positions s (Å)."""

    s: NDArray
    energy: NDArray
    force: NDArray


def main() -> None:
    """Scan, measure, plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_reference_option(parser)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--figure", type=Path, default=ROOT / "docs" / "images" / "jumps.png")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "jumps.yaml")
    args = parser.parse_args()
    checkpoint, aspirin = (
        args.reference / "checkpoints" / "tiny-s.pt",
        args.reference / "cases" / "aspirin_8A.npz",
    )
    for needed in (checkpoint, aspirin):
        if not needed.exists():
            raise SystemExit(f"{needed} is not there: give the folder of the reference data with --reference")
    official = read_official(checkpoint).potential.double().requires_grad_(False)
    models = {name: with_policy(official, policy) for name, policy in POLICIES.items()}
    scans = all_scans(aspirin)
    curves = {
        scan.title: {name: curve(model, scan, args.points) for name, model in models.items()}
        for scan in scans
    }
    report = {
        "what": "jumps along the paths of docs/images/jumps.png; benchmarks/jumps_figure.py",
        "model": "tiny-s of the official numbers, head ani1x, float64; the same weights under both policies",
        "units": {"energy_jump": "meV", "force_jump": "eV/Å, any component of any atom", "s, distance": "Å"},
        "scans": {
            scan.title: {name: measured(model, scan) for name, model in models.items()} for scan in scans
        },
    }
    args.results.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(report, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    args.results.write_text(text)
    plot(scans, curves, args.figure)
    print(f"{text}\n{args.figure}\n{args.results}")


def all_scans(aspirin: Path) -> list[Scan]:
    """A pair through the cutoff, an atom of aspirin through changes of rank, a line of four atoms through
    straightness."""
    with np.load(aspirin) as case:
        numbers, positions = case["Z"], case["pos"]

    def pair(s: float) -> Atoms:
        return Atoms("CO", [[0, 0, 0], [s, 0, 0]])

    def molecule(s: float) -> Atoms:
        moved = positions.copy()
        moved[0] += [s, 0.0, 0.0]
        return Atoms(numbers, moved)

    def chain(s: float) -> Atoms:
        return Atoms("HCCH", [[-0.4, 0.7, 0.7], [0, 0, 0], [1.2, 0, 0], [2.26, s, 0]])

    return [
        Scan("a pair passes the cutoff", pair, CUTOFF - 0.6, CUTOFF + 0.2, 1, (1, 0, 0)),
        Scan("neighbours change rank", molecule, -0.1, 0.1, 0, (1, 0, 0)),
        Scan("a chain becomes straight", chain, -0.3, 0.3, 3, (0, 0, 1), (0.0,)),
    ]


def with_policy(potential: Potential, policy: GraphPolicy) -> Potential:
    """The same weights under another policy, frozen."""
    return potential.with_config(replace(potential.config, policy=policy)).requires_grad_(False)


def graph(model: Potential, atoms: Atoms) -> Graph:
    """Edges of a structure."""
    return build_graph(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc, model.config.policy)


def evaluated(model: Potential, structures: Sequence[Atoms]) -> tuple[NDArray, NDArray]:
    """Energies (S,) in eV and forces (S, N, 3) in eV/Å of structures with N atoms each."""
    energies, forces = [], []
    for first in range(0, len(structures), CHUNK):
        part = structures[first : first + CHUNK]
        prediction = model(collate([graph(model, atoms) for atoms in part]), heads=HEAD)
        assert prediction.forces is not None
        energies.append(prediction.energy.detach().numpy())
        forces.append(prediction.forces.numpy().reshape(len(part), -1, 3))
    return np.concatenate(energies), np.concatenate(forces)


def curve(model: Potential, scan: Scan, points: int) -> Curve:
    """The whole scan; an even number of points keeps exact straightness between two of them."""
    s = np.linspace(scan.low, scan.high, points)
    energies, forces = evaluated(model, [scan.path(value) for value in s])
    along = forces[:, scan.atom] @ np.array(scan.direction, dtype=float)
    return Curve(s, 1000.0 * energies, along)


def measured(model: Potential, scan: Scan) -> dict[str, Any]:
    """Number of places where edges come or go, the largest jumps there, and the force near a straight
    line."""
    places = [*events(model, scan), *scan.special]
    found = [jump(model, scan, place) for place in places]
    worst: dict[str, Any] = {"places": len(places), "energy_jump": rounded(1000.0 * max(e for e, _ in found))}
    worst["force_jump"] = rounded(max(f for _, f in found))
    if scan.special:
        _, forces = evaluated(model, [scan.path(distance) for distance in NEAR_LINE])
        largest = np.abs(forces).max(axis=(1, 2))
        if largest[-1] > 5.0 * largest[-2]:
            worst["force_jump"] = "diverges like 1/s"
        worst["largest_force_at_distance"] = {d: rounded(f) for d, f in zip(NEAR_LINE, largest)}
    return worst


def rounded(value: float) -> float:
    """Three digits."""
    return float(f"{value:.3g}")


def events(model: Potential, scan: Scan, grid: int = 200) -> list[float]:
    """Positions s where an edge of any graph appears or disappears, to 1e-11 Å."""

    def edges(s: float) -> tuple[NDArray, ...]:
        g = graph(model, scan.path(s))
        return tuple(
            np.stack([e.source, e.target]) for e in (g.main, g.a2a, g.a2ee2a, g.qint)
        )  # no images here

    def same(one: tuple[NDArray, ...], other: tuple[NDArray, ...]) -> bool:
        return all(np.array_equal(a, b) for a, b in zip(one, other))

    found = []
    values = np.linspace(scan.low, scan.high, grid)
    at = [edges(value) for value in values]
    for left, right, before, after in zip(values, values[1:], at, at[1:]):
        if same(before, after):
            continue
        while right - left > 1e-11:
            middle = 0.5 * (left + right)
            left, right = (middle, right) if same(edges(middle), before) else (left, middle)
        found.append(0.5 * (left + right))
    return found


def jump(model: Potential, scan: Scan, place: float) -> tuple[float, float]:
    """Extrapolated jumps of the energy (eV) and of the largest force component (eV/Å) at one place."""
    energies, forces = evaluated(
        model, [scan.path(place + sign * delta) for delta in DELTAS for sign in (1, -1)]
    )
    weights = np.linalg.solve(
        np.vander(DELTAS, increasing=True).T, [1.0, 0.0, 0.0]
    )  # quadratic in δ, at δ = 0
    energy, force = (v.reshape(len(DELTAS), 2, -1) for v in (energies, forces))
    return (
        float(np.abs(weights @ (energy[:, 0] - energy[:, 1])).max()),
        float(np.abs(weights @ (force[:, 0] - force[:, 1])).max()),
    )


def plot(scans: Sequence[Scan], curves: dict[str, dict[str, Curve]], path: Path) -> None:
    """Two rows (energy, force), one column per scan."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(scans), figsize=(11, 5.6), sharex="col", constrained_layout=True)
    styles: dict[str, dict[str, Any]] = {
        "official": {"color": "#c44e52", "ms": 4.5},
        "smooth": {"color": "#2f5d8c", "ms": 2.0},
    }
    for column, scan in enumerate(scans):
        trend = np.polynomial.Polynomial.fit(
            curves[scan.title]["smooth"].s, curves[scan.title]["smooth"].energy, 1
        )
        for name, line in curves[scan.title].items():
            # The same straight line is taken off both, so that jumps show beside the slope.
            bent = line.energy - trend(line.s)
            axes[0, column].plot(line.s, bent - bent[-1], ".", label=name, **styles[name])
            axes[1, column].plot(line.s, line.force, ".", **styles[name])
        axes[0, column].set_title(scan.title, fontsize=11)
        axes[1, column].set_xlabel("moved atom, s (Å)")
    axes[0, 0].set_ylabel("energy minus a straight line (meV)")
    axes[1, 0].set_ylabel("force on the moved atom (eV/Å)")
    axes[1, -1].annotate(
        "across the plane: grows like 1/s", (0.03, 0.06), xycoords="axes fraction", fontsize=9
    )
    axes[0, 0].legend(markerscale=3, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
