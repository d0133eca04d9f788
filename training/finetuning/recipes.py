"""The fine-tuning runs of the JMP paper by name: data, split, target, loss, optimizer, schedule
(``training.md`` part III).

Where the paper and the released code disagree there are three variants of a recipe: ``default`` (ours,
section 22), ``paper`` and ``code``. ``gn-oc-NAME`` is the same task from new weights (section 21).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from ..config import StageConfig
from ..datasets import matbench, md22, pdbbind, qm9, qmof, rmd17, spice
from ..datasets.base import choose
from .recipe import FinetuneRecipe, Variant

JMP_S_RATES_CODE = (0.30, 0.30, 0.40, 0.55, 0.625)
SCRATCH_PREFIX = "gn-oc-"
SCRATCH_RATES = (1e-4, 2e-4, 5e-5)
"""Learning rates of the grid of the runs from scratch; the first one is our default."""
_FORCE_UNITS = ("eV/Å", "meV/Å")
_FORCE_STD = {
    "aspirin": 1.2733363, "azobenzene": 1.2940075, "benzene": 0.90774584, "ethanol": 1.1929188,
    "malonaldehyde": 1.302443, "naphthalene": 1.3102233, "paracetamol": 1.2707518, "salicylic": 1.3030343,
    "toluene": 1.246547, "uracil": 1.3692871,
    "Ac-Ala3-NHMe": 1.1291506, "DHA": 1.1258113, "stachyose": 1.1104717, "AT-AT": 1.2109985,
    "AT-AT-CG-CG": 1.2021886, "buckyball-catcher": 1.0899031, "double-walled_nanotube": 1.0137014,
    "dipeptides": 0.5386545, "solvated_amino_acids": 0.81945145,
}  # fmt: skip
_QM9_REFERENCED = ("ZPVE", "U_0", "U", "H", "G", "c_v")
_MATBENCH_BATCH = {"jdft2d": 3, "mp_gap": 2, "mp_e_form": 6}
_FP32 = ("matbench-jdft2d", "matbench-mp_gap", "md22-dha")


def recipe_names() -> tuple[str, ...]:
    """The 41 tasks of the paper, in its order of data sets."""
    return tuple(_TASKS)


def finetune_recipe(name: str, variant: Variant = "default") -> FinetuneRecipe:
    """A recipe by name (``rmd17-aspirin``), also from scratch (``gn-oc-rmd17-aspirin``).

    UsageError with the nearest names for an unknown one.
    """
    choose(variant, get_args(Variant), "variant of recipes")
    bare = name.lower().removeprefix(SCRATCH_PREFIX)
    key = choose(bare, recipe_names(), "recipe")
    recipe = dataclasses.replace(_TASKS[key](variant), variant=variant)
    return _from_scratch(recipe) if name.lower().startswith(SCRATCH_PREFIX) else recipe


def disagreements(name: str) -> dict[str, dict[str, Any]]:
    """Settings of a recipe on which default, paper and code are not of one opinion: name -> variant ->
    value."""
    variants = {v: _flat(dataclasses.asdict(finetune_recipe(name, v))) for v in get_args(Variant)}
    keys = [key for key in variants["default"] if key != "variant"]
    values = {key: {v: found[key] for v, found in variants.items()} for key in keys}
    return {key: row for key, row in values.items() if len({repr(value) for value in row.values()}) > 1}


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _from_scratch(recipe: FinetuneRecipe) -> FinetuneRecipe:
    """Section 21: plateau only, no warm-up, one learning rate, smaller weight decay."""
    return dataclasses.replace(
        recipe,
        name=SCRATCH_PREFIX + recipe.name,
        from_scratch=True,
        layerwise=False,
        weight_decay=0.01,
        lr=SCRATCH_RATES[0],
        ema_decay=0.99,
        stages=dataclasses.replace(
            recipe.stages,
            warmup_epochs=0,
            cosine_epochs=0,
            cosine_after_warmup=False,
            plateau_patience=3,
            plateau_factor=0.8,
        ),
    )


# ---- the tasks
# ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Task:
    """Makes the recipe of one task in any variant."""

    dataset: str
    member: str

    def __call__(self, variant: Variant) -> FinetuneRecipe:
        make = {
            "rmd17": _rmd17,
            "md22": _md22,
            "spice": _spice,
            "qm9": _qm9,
            "matbench": _matbench,
            "qmof": _qmof,
            "pdbbind": _pdbbind,
        }[self.dataset]
        return dataclasses.replace(make(self.member, variant), **_common(variant))

    @property
    def name(self) -> str:
        """Lower case, data set first."""
        return f"{self.dataset}-{self.member}".lower()


def _common(variant: Variant) -> dict[str, Any]:
    """What differs between the variants of every recipe (section 22, rows 10 and 11)."""
    if variant == "code":
        return {"ema_decay": None, "block_rates_s": JMP_S_RATES_CODE}
    return {}


def _stages(variant: Variant, **changes: Any) -> StageConfig:
    """Section 22, rows 7 and 9: the paper's cosine follows the warm-up, and its plateau is 5 / 0.1."""
    paper = (
        {"cosine_after_warmup": True, "plateau_patience": 5, "plateau_factor": 0.1}
        if variant == "paper"
        else {}
    )
    return StageConfig(**{**paper, **changes})


def _rmd17(molecule: str, variant: Variant) -> FinetuneRecipe:
    cosine: dict[str, Any] = {} if variant == "code" else {"cosine_epochs": 128, "final_lr": 0.01}
    # The floor: 1e-8 for all runs in the paper, 1e-10 here in the code (row 31).
    floor = {"stop_below": 1e-8 if variant == "paper" else 1e-10}
    patience = {} if variant == "paper" else {"plateau_patience": 10}
    return FinetuneRecipe(
        f"rmd17-{molecule}",
        "rmd17",
        molecule,
        "forces",
        "jmp",
        *_FORCE_UNITS,
        cutoff=7.0,
        max_neighbors=100,
        head="energy",
        head_bias=False,
        force_mode="conservative",
        weight=10.0,
        force_std=_FORCE_STD[molecule],
        batch_size=1,
        precision="float32",
        stages=_stages(variant, **cosine, **floor, **patience),
        max_epochs=100_000,
        patience=1000,
    )


def _md22(molecule: str, variant: Variant) -> FinetuneRecipe:
    direct = {"code": ("Ac-Ala3-NHMe", "double-walled_nanotube")}.get(
        variant, ("buckyball-catcher", "double-walled_nanotube")
    )
    name = f"md22-{molecule}".lower()
    return FinetuneRecipe(
        name,
        "md22",
        molecule,
        "forces",
        "jmp",
        *_FORCE_UNITS,
        cutoff=12.0,
        head="energy",
        head_bias=False,
        force_mode="direct" if molecule in direct else "conservative",
        weight=100.0,
        force_std=_FORCE_STD[molecule],
        batch_size=2 if molecule == "Ac-Ala3-NHMe" else 1,
        precision="float32" if name in _FP32 else "mixed",
        stages=_stages(variant),
    )


def _spice(subset: str, variant: Variant) -> FinetuneRecipe:
    return FinetuneRecipe(
        f"spice-{subset}",
        "spice",
        subset,
        "forces",
        "conformers",
        *_FORCE_UNITS,
        cutoff=12.0,
        head="energy",
        head_bias=False,
        force_mode="conservative",
        weight=100.0,
        force_std=_FORCE_STD[subset],
        batch_size=2,
        stages=_stages(variant),
    )


def _qm9(target: str, variant: Variant) -> FinetuneRecipe:
    extent = target == "R_2_Abs"
    unit = dict(zip(qm9.TARGETS, qm9.UNITS))[target]
    return FinetuneRecipe(
        f"qm9-{target}".lower(),
        "qm9",
        target,
        target,
        "jmp",
        unit,
        "meV" if unit == "eV" else unit,
        cutoff=8.0,
        head="spatial_extent" if extent else "scalar",
        head_bias=not extent,
        # The paper references all properties, the code the six extensive ones (row 16).
        linear_reference=(variant == "paper" and not extent) or target in _QM9_REFERENCED,
        normalise=not extent,
        batch_size=48,
        stages=_stages(variant),
    )


def _matbench(task: str, variant: Variant) -> FinetuneRecipe:
    name, table = f"matbench-{task}", matbench.TASKS[task]
    return FinetuneRecipe(
        name,
        "matbench",
        task,
        table.column,
        "fold-0",
        table.unit,
        table.reported_in or table.unit,
        cutoff=12.0,
        # The code limits the neighbours of large cells; the paper does not say.
        conditional_neighbors=variant != "paper",
        pooling="max" if task == "phonons" else "mean",
        batch_size=_MATBENCH_BATCH.get(task, 8),
        precision="float32" if name in _FP32 else "mixed",
        stages=_stages(variant),
    )


def _qmof(member: str, variant: Variant) -> FinetuneRecipe:
    return FinetuneRecipe(
        f"qmof-{member}",
        "qmof",
        member,
        qmof.TARGET,
        "code" if variant == "code" else "paper10k",
        "eV",
        "eV",
        cutoff=19.0,
        conditional_neighbors=True,
        pooling="mean",
        batch_size=4,
        stages=_stages(variant),
    )


def _pdbbind(member: str, variant: Variant) -> FinetuneRecipe:
    # No batch size is published for this task.
    return FinetuneRecipe(
        f"pdbbind-{member}",
        "pdbbind",
        member,
        pdbbind.TARGET,
        "random",
        "1",
        "1",
        cutoff=12.0,
        batch_size=1,
        stages=_stages(variant),
    )


def _all_tasks() -> Iterator[_Task]:
    members = {
        "qm9": qm9.TARGETS[:12],
        "rmd17": rmd17.MOLECULES,
        "md22": md22.MOLECULES,
        "spice": spice.SUBSETS,
        "matbench": tuple(task for task in matbench.TASKS if task != "mp_is_metal"),
        "qmof": ("bandgap",),
        "pdbbind": ("core",),
    }
    return (_Task(dataset, member) for dataset, names in members.items() for member in names)


_TASKS = {task.name: task for task in _all_tasks()}
