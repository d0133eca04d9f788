"""``jmp-calc recipes``: the published training runs by name, and where paper and code disagree on them."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

EPILOG = """\b
Examples:
  jmp-calc recipes list
  jmp-calc recipes show rmd17-aspirin
  jmp-calc recipes show gn-oc-qm9-delta_eps --variant paper
  jmp-calc finetune --recipe rmd17-aspirin --data ~/data/rmd17 -m jmp-l"""

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@click.group(epilog=EPILOG)
def recipes() -> None:
    """Published training runs: list them, show their settings."""


@recipes.command("list")
@_json_option
def list_recipes(as_json: bool) -> None:
    """All recipes: 41 fine-tuning tasks, each also from scratch as gn-oc-NAME, and the pre-training runs."""
    from ...training.finetuning.recipes import finetune_recipe, recipe_names
    from ...training.pretraining.mixture import load_mixture, recipe_files

    rows: list[dict[str, Any]] = []
    for name in recipe_names():
        recipe = finetune_recipe(name)
        rows.append(
            {
                "name": name,
                "kind": "fine-tuning",
                "data": recipe.dataset,
                "target": recipe.target,
                "split": recipe.split,
            }
        )
    rows += [
        {
            "name": name,
            "kind": "pre-training",
            "data": f"{len(load_mixture(name).sets)} sets",
            "target": "energies and forces",
            "split": "train",
        }
        for name in recipe_files()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        click.echo(
            f"{row['name']:<28} {row['kind']:<12} {row['data']:<10} {row['target']}, split {row['split']}"
        )
    click.echo("every fine-tuning task also exists from new weights: gn-oc-NAME")


@recipes.command()
@click.argument("name")
@click.option(
    "--variant",
    type=click.Choice(["default", "paper", "code"]),
    default="default",
    show_default=True,
    help="Whose settings.",
)
@_json_option
def show(name: str, variant: str, as_json: bool) -> None:
    """Every setting of the recipe NAME, and those on which default, paper and code disagree."""
    from ...training.finetuning.recipe_theory import recipe_theory
    from ...training.finetuning.recipes import disagreements, finetune_recipe
    from ...training.pretraining.mixture import read_recipe, recipe_files
    from ...training.pretraining.published import PRETRAIN_RECIPES

    shown: dict[str, Any]
    if name in recipe_files():
        shown = {"settings": read_recipe(name)}
        if name in PRETRAIN_RECIPES:
            published = PRETRAIN_RECIPES[name]
            shown |= {"published": dataclasses.asdict(published), "disagreements": published.disagreements()}
    else:
        recipe = finetune_recipe(name, variant)  # type: ignore[arg-type]
        theory = dataclasses.asdict(recipe_theory(recipe.dataset, recipe.member))
        shown = {
            "variant": variant,
            "theory": {name: text for name, text in theory.items() if text},
            "settings": dataclasses.asdict(recipe),
            "disagreements": disagreements(name),
        }
    from ...io.summary import plain

    if as_json:
        click.echo(json.dumps(plain(shown), indent=1))
        return
    import yaml

    click.echo(yaml.safe_dump(plain(shown), sort_keys=False, allow_unicode=True, width=110).rstrip())
