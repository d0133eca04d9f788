"""Where data sets lie in the features of jmp-xs, after the embedding figures of the JMP paper: a picture and
its numbers.

    python benchmarks/embeddings.py        a few minutes on one core; with umap-learn (extra `embeddings`) two panels

Up to 40 structures of each of 17 sets from 5 domains, mean features of each
(jmp_calc/inference/descriptors.py). Three descriptions are
compared: jmp-xs; a network of the same architecture with random weights (scale factors fitted on one
    structure of each set); and the bare composition, the share of each element. Numbers: explained variance
    of principal components; leave-one-out accuracy of the nearest neighbour (Euclidean) for the set and for
    the domain; the same for the domain when the own set is left out, which asks whether sets of one domain
    lie together. Composition says nothing of geometry: on 3BPA (one molecule), the distance of test frames of
    mixed temperature from the nearest 300 K training frame is compared with their DFT energy (rank
    correlation). Writes benchmarks/results/embeddings.yaml and embeddings.svg.
"""

from __future__ import annotations

import argparse
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from ase import Atoms
from folders import add_data_option
from numpy.typing import NDArray
from rows import RESULTS, rounded
from scipy.stats import spearmanr

from jmp_calc import JMPCalculator
from jmp_calc.errors import JMPWarning
from jmp_calc.graph.batch import collate
from jmp_calc.io.structures import read_frames
from jmp_calc.model.potential import Potential
from jmp_calc.zoo.container import ModelCard, save_model

SETS = {
    "molecules": ("qm7", "qm9_sub_test", "spice_mini_test", "spice_dipeptides_test"),
    "reactions": ("rdb7_barriers_ts_test", "da_reaction", "h2_combustion"),
    "bulk": ("zeolites_sizeo22_test", "si_random", "tio2_aenet", "snap_metals_test"),
    "liquids": ("water_pbe0_test", "water_rpbe_d3", "organic_liquids_n2p2"),
    "surfaces": ("oc20_trajs_test", "co_pt_surfaces", "hea_orr"),
}  # fmt: skip
COLOURS = dict(zip(SETS, ("#1f77b4", "#d62728", "#7f7f7f", "#17becf", "#e69f00")))
Describe = Callable[[Sequence[Atoms]], NDArray[np.float64]]
"""From structures to one vector each, (S, D)."""


@dataclass(frozen=True)
class Sample:
    """S structures with the names of their sets."""

    structures: list[Atoms]
    sets: NDArray[np.str_]
    domains: NDArray[np.str_]


def main() -> None:
    """Compute all features, write the numbers and draw the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_option(parser)
    parser.add_argument("--each", type=int, default=40, help="structures of each set")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--work", type=Path, default=Path("runs/embeddings"), help="folder of the random network"
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore", JMPWarning)  # of close atoms in a few frames of the metals
    sample = read_sample(args.data, args.each)
    trained = JMPCalculator("jmp-xs", device="cpu")
    describers: dict[str, Describe] = {
        "jmp-xs": lambda structures: trained.descriptors(structures).mean(),
        "random weights": random_network(sample, args.work),
        "composition": composition,
    }
    cold, test = (read_frames(args.data / f"bpa3_{part}.xyz.gz") for part in ("train", "test"))
    energies = np.array([atoms.get_potential_energy() for atoms in test])
    rows, shown = {}, {}
    for name, describe in describers.items():
        shown[name] = describe(sample.structures)
        far = distances(describe(test), describe(cold)).min(axis=1)
        rows[name] = {
            **separation(shown[name], sample),
            **variance(shown[name]),
            "bpa3_distance_against_energy": rank_correlation(far, energies),
        }
        print(name, rounded(rows[name]), flush=True)
    domains, counts = np.unique(sample.domains, return_counts=True)
    content = {
        "what": "mean features of structures of 17 data sets, nearest neighbours and principal components; "
        "benchmarks/embeddings.py",
        "structures": {str(domain): int(count) for domain, count in zip(domains, counts)},
        "largest_domain_share": float(counts.max() / counts.sum()),
        "model_sha256": trained.info.sha256,
        "sets": {domain: list(names) for domain, names in SETS.items()},
        "rows": rows,
    }
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "embeddings.yaml").write_text(
        yaml.safe_dump(rounded(content), sort_keys=False, default_flow_style=None, width=110)
    )
    plot(layouts(shown["jmp-xs"]), sample, args.results / "embeddings.svg")


def read_sample(folder: Path, each: int) -> Sample:
    """The same structures in every run; positions, elements and cells alone (charges in the files mean
    nothing to jmp-xs)."""
    random = np.random.default_rng(0)
    structures: list[Atoms] = []
    sets: list[str] = []
    domains: list[str] = []
    for domain, names in SETS.items():
        for name in names:
            frames = read_frames(folder / f"{name}.xyz.gz")
            chosen = random.permutation(len(frames))[:each]
            structures += [bare(frames[i]) for i in sorted(chosen)]
            sets += [name] * len(chosen)
            domains += [domain] * len(chosen)
    return Sample(structures, np.array(sets), np.array(domains))


def bare(atoms: Atoms) -> Atoms:
    """Positions, elements and cell."""
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def random_network(sample: Sample, work: Path) -> Describe:
    """The architecture of jmp-xs with new weights, seed 0."""
    calculator = JMPCalculator("jmp-xs", device="cpu")
    torch.manual_seed(0)
    potential = Potential(calculator.model_config)
    firsts = [
        sample.structures[int(np.argmax(sample.sets == name))] for names in SETS.values() for name in names
    ]
    potential.fit_scale_factors([collate([calculator.build_graph(atoms)]) for atoms in firsts])
    work.mkdir(parents=True, exist_ok=True)
    save_model(work / "random.safetensors", potential, ModelCard(name="random weights"))
    random = JMPCalculator(work / "random.safetensors", device="cpu")
    return lambda structures: random.descriptors(structures).mean()


def composition(structures: Sequence[Atoms]) -> NDArray[np.float64]:
    """The share of each element."""
    return np.array([np.bincount(atoms.numbers, minlength=120) / len(atoms) for atoms in structures])


def distances(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euclidean distances between the rows of two arrays."""
    return np.sqrt(((x[:, None] - y[None]) ** 2).sum(-1))


def separation(features: NDArray[np.float64], sample: Sample) -> dict[str, float]:
    """Accuracies of the nearest neighbour."""
    between = distances(features, features)
    np.fill_diagonal(between, np.inf)
    found = between.argmin(axis=1)
    other = np.where(sample.sets[:, None] == sample.sets[None], np.inf, between).argmin(axis=1)
    return {
        "set_accuracy": float(np.mean(sample.sets[found] == sample.sets)),
        "domain_accuracy": float(np.mean(sample.domains[found] == sample.domains)),
        "domain_accuracy_from_other_sets": float(np.mean(sample.domains[other] == sample.domains)),
    }


def variance(features: NDArray[np.float64]) -> dict[str, Any]:
    """Share of the variance in the first two principal components, and how many hold 95 %."""
    singular = np.linalg.svd(features - features.mean(axis=0), compute_uv=False)
    share = np.cumsum(singular**2) / np.sum(singular**2)
    return {
        "variance_in_2_components": float(share[1]),
        "components_for_95_percent": int(np.searchsorted(share, 0.95)) + 1,
    }


def rank_correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Spearman's; 0 where x is the same everywhere."""
    return float(spearmanr(x, y).statistic) if np.ptp(x) > 0 else 0.0


def layouts(features: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Titles and points (S, 2): principal components and, where umap-learn is installed, UMAP."""
    centred = features - features.mean(axis=0)
    _, singular, axes_of_variance = np.linalg.svd(centred, full_matrices=False)
    percent = 100 * singular**2 / np.sum(singular**2)
    title = (
        f"principal components ({percent[0]:.0f} % and {percent[1]:.0f} % of the variance), without the "
        "outermost"
    )
    panels = {title: centred @ axes_of_variance[:2].T}
    if importlib.util.find_spec("umap") is not None:
        from umap import UMAP

        panels["UMAP (15 neighbours, seed 0)"] = UMAP(n_neighbors=15, random_state=0, n_jobs=1).fit_transform(
            features
        )
    return panels


def plot(panels: dict[str, NDArray[np.float64]], sample: Sample, path: Path) -> None:
    """Draw the layouts, the first of them (principal components) without its outermost points."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4 * len(panels), 4.8), layout="constrained")
    for axes, (title, points) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels.items()):
        for domain, colour in COLOURS.items():
            chosen = sample.domains == domain
            axes.scatter(*points[chosen].T, s=7, color=colour, label=domain, linewidths=0, alpha=0.7)
        for name in np.unique(sample.sets):
            own = points[sample.sets == name]
            middle = own[distances(own, np.median(own, axis=0)[None])[:, 0].argmin()]
            axes.annotate(name.removesuffix("_test"), middle, fontsize=6, ha="center", annotation_clip=True)
        axes.set(title=title, xticks=[], yticks=[])
        axes.title.set_fontsize(9)
    low, high = np.percentile(
        next(iter(panels.values())), (1, 99), axis=0
    )  # a few crystals would leave no room for the rest
    margin = 0.1 * (high - low)
    panel = figure.axes[0]
    panel.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
    axes.legend(fontsize=7, markerscale=2)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
