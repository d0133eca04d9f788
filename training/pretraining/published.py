"""The pre-training runs of JMP-S and JMP-L as settings (``training.md`` part I).

They describe the published runs, with their statistics and where paper and code disagree;
``recipes/pretrain_jmp_*.toml`` has the same settings for ``jmp-calc pretrain``, with statistics from the
records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..config import OptimConfig


@dataclass(frozen=True)
class PretrainSet:
    """One data set of the mixture, which is also one head."""

    name: str
    n_frames: int | None
    """None: as many as the data set has (paper and code give other numbers)."""
    energy_std: float
    """eV, of the linearly referenced training energies; energies are divided by it, no mean is subtracted."""
    force_rms: float
    """eV/Å, by component."""
    force_weight: float
    """Mean number of atoms, rounded."""
    cutoff: float
    """Å"""
    tags_from_file: bool
    """Else all atoms have tag 2."""


@dataclass(frozen=True)
class PretrainRecipe:
    """One run."""

    name: str
    model: str
    sets: tuple[PretrainSet, ...]
    optim: OptimConfig
    global_batch: int
    """Structures per optimizer step over all devices."""
    epochs: int = 2
    temperature: float = 2.0
    min_atoms: int = 4
    """Smaller structures have no quadruplets and are left out."""
    max_neighbors: int = 30
    edge_dropout: float = 0.1
    structure_wise_loss: bool = True
    energy_loss: str = "l1"
    energy_weight: float = 1.0

    def disagreements(self) -> dict[str, dict[str, Any]]:
        """Settings on which default, paper and code are not of one opinion: name -> source -> value."""
        return {
            "optim.lr": {"default": self.optim.lr, "paper": "2e-4 (Table 20), 3e-4 (App. F)", "code": 3e-4},
            "energy_loss": {
                "default": self.energy_loss,
                "paper": "l1 (Eq. 1), l2 (listing of App. E)",
                "code": "l1",
            },
            "energy_shift": {"default": 0.0, "paper": "mean (section 4.1), none (App. H)", "code": 0.0},
            "oc20.target": {
                "default": "total energy, linearly referenced",
                "paper": "not stated",
                "code": "adsorption energy in the sample notebook, with the deviation of the total",
            },
            "edge_dropout.compensation": {
                "default": "sum over edges in the output blocks",
                "code": "sum over edges in the output blocks",
                "paper": "all remaining embeddings",
            },
            "global_batch": {
                "default": self.global_batch,
                "paper": self.global_batch,
                "code": "4 per device",
            },
            "ani1x.n_frames": {
                "default": "as data",
                "paper": "2 M (Table 1), about 4 M (App. H)",
                "code": "about 3.96 M",
            },
            "transition1x.n_frames": {
                "default": "as data",
                "paper": "10 M (Table 1), 9 M (App. H)",
                "code": "train part of the file",
            },
        }


_SETS = (
    PretrainSet("oc20", 100_000_000, 24.901469505465872, 0.5111534595489502, 73.0, 12.0, True),
    PretrainSet("oc22", 8_225_293, 25.229595396538468, 0.25678861141204834, 80.0, 12.0, True),
    PretrainSet("ani1x", None, 2.8700712783472118, 2.131422996520996, 15.0, 8.0, False),
    PretrainSet("transition1x", None, 1.787466168382901, 0.3591422140598297, 14.0, 8.0, False),
)
_OPTIM = OptimConfig(
    method="adamw",
    lr=3e-4,
    weight_decay=0.1,
    warmup_steps=2000,
    warmup_start=0.2,
    final_lr=0.1,
    clip_norm=1.0,
    ema_decay=0.99,
    ema_warmup=False,
)
PRETRAIN_RECIPES = {
    recipe.name: recipe
    for recipe in (
        PretrainRecipe("pretrain-jmp-s", "jmp-s", _SETS, _OPTIM, 1024),
        PretrainRecipe("pretrain-jmp-l", "jmp-l", _SETS, _OPTIM, 768),
    )
}
