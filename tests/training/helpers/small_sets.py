"""Small data sets in their real layouts for every recipe, and full-size networks in the official layout.

Structures and numbers of frames are small; layouts, readers, splits and networks are the real ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch

from jmp_calc.graph.batch import collate
from jmp_calc.graph.build import build_graph
from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.model.config import BackboneConfig
from jmp_calc.training.datasets import matbench, md22, qm9, qmof, rmd17
from jmp_calc.training.datasets.registry import FAMILIES
from jmp_calc.training.finetuning.recipe import FinetuneRecipe
from jmp_calc.zoo.container import ModelCard, save_model
from jmp_calc.zoo.official import read_official
from tests.training.helpers import hdf5_layouts, layouts, qm9_layouts, scalar_layouts
from tests.zoo import synthetic

_SUBSETS = {"dipeptides": hdf5_layouts.DIPEPTIDES, "solvated_amino_acids": hdf5_layouts.SOLVATED}


def write_small_set(folder: Path, recipe: FinetuneRecipe) -> None:
    """The data set of ``recipe``: methanol, QM9's smallest molecules, crystals of one to four atoms, toy
    complexes."""
    folder.mkdir(parents=True, exist_ok=True)
    if recipe.dataset == "rmd17":
        layouts.write_rmd17(folder, recipe.member, 12)
    elif recipe.dataset == "md22":
        layouts.write_md22(folder / f"md22_{recipe.member}.npz", 22)
    elif recipe.dataset == "spice":
        hdf5_layouts.write_spice(folder / f"{recipe.member}.h5", {"a": (_SUBSETS[recipe.member], 20)})
    elif recipe.dataset == "qm9":
        qm9_layouts.write_qm9_sdf(folder, more=48)
        qm9_layouts.write_uncharacterised(folder)
    elif recipe.dataset == "matbench":
        scalar_layouts.write_matbench(folder, recipe.member, matbench.TASKS[recipe.member].column, 30)
    elif recipe.dataset == "qmof":
        scalar_layouts.write_qmof(folder, 12)
    elif recipe.dataset == "pdbbind":
        scalar_layouts.write_pdbbind(folder, [f"{i}abc" for i in range(20)])
    else:
        raise ValueError(f"no small set of {recipe.dataset}")


@contextmanager
def small_splits() -> Iterator[None]:
    """Inside the block the readers take incomplete files, and published numbers of frames are smaller
    ones."""
    changed = {
        "rmd17": {
            "split": lambda s, folder, _, name: rmd17.split_rmd17(s, folder, name, n_train=8, n_valid=2)
        },
        "md22": {"split": lambda s, _, member, name: md22.split_md22(s, member, name, total=20)},
        "qm9": {
            "open": partial(qm9.open_qm9, complete=False),
            "split": lambda s, _, __, name: qm9.split_qm9(s, name, n_train=48, n_valid=2, n_test=2),
        },
        "matbench": {"open": partial(matbench.open_matbench, complete=False)},
        "qmof": {"split": lambda s, _, __, name: qmof.split_qmof(s, name, n_paper=8)},
    }
    families = {name: dataclasses.replace(FAMILIES[name], **change) for name, change in changed.items()}
    with patch.dict(FAMILIES, families):
        yield


def write_official_network(path: Path, backbone: BackboneConfig) -> None:
    """A model file made from a checkpoint in the official layout with random weights; scale factors fit
    methanol."""
    checkpoint = synthetic.checkpoint(backbone, moments=0)
    official = path.with_suffix(".pt")
    torch.save(checkpoint, official)
    del checkpoint
    loaded = read_official(official, "raw")
    official.unlink()
    methanol = layouts.methanol()
    open_space = build_graph(
        methanol.start,
        methanol.numbers,
        torch.zeros(3, 3).numpy(),
        torch.zeros(3).bool().numpy(),
        GraphPolicy(),
    )
    loaded.potential.fit_scale_factors([collate([open_space])])
    save_model(path, loaded.potential, ModelCard(name=f"{path.stem}, random weights", licence="MIT"))
