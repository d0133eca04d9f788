"""``finetune --config run/config.yaml``: the settings of an earlier run as options of a new one.

The file of a run has the sections data, start and training, each with every setting. data and start become
options; training becomes the settings that options on the command line then change, so that nothing of it is
lost.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...errors import ModelError, UsageError

if TYPE_CHECKING:
    from ...training.config import TrainConfig

_TRAINING = "jmp_calc.training_of_file"
_EARLIER = ("n_train", "retain", "replay")
_SAME_NAME = (
    "index",
    "references",
    "allow_missing",
    "allow_truncated",
    "allow",
    "energy_unit",
    "length_unit",
    "forces_unit",
    "stress_unit",
    "stress_sign",
    "groups",
    *_EARLIER,
)


def options_of_run(context: click.Context, content: dict[Any, Any], path: Path) -> dict[Any, Any]:
    """The content of a configuration file with the sections of a run, where it has them, turned into
    options."""
    content = {**content, "theory": _theory(content["theory"], path)} if "theory" in content else content
    rest = {key: value for key, value in content.items() if not isinstance(value, dict)}
    data, start, training = (_section(content, name) for name in ("data", "start", "training"))
    unknown = sorted(
        str(key) for key in content if key not in rest and key not in ("data", "start", "training")
    )
    if unknown:
        raise UsageError(
            f"Unknown section '{unknown[0]}'.",
            where=str(path),
            hint="sections: data, start, training, theory",
        )
    options = {**_of_data(data, path), **_of_start(start, path)}
    if training:
        context.meta[_TRAINING] = _parsed(training, path)
        options["seed"] = training.get("seed", 0)
    return {**{key: value for key, value in options.items() if value not in (None, [], False)}, **rest}


def training_of_file() -> TrainConfig | None:
    """The training settings that ``--config`` brought along; None if there are none."""
    return click.get_current_context().meta.get(_TRAINING)


def _section(content: dict[Any, Any], name: str) -> dict[str, Any]:
    section = content.get(name)
    return section if isinstance(section, dict) else {}


def _parsed(training: dict[str, Any], path: Path) -> TrainConfig:
    from ...io.schema import parse
    from ...training.config import TrainConfig

    try:
        return parse(TrainConfig, training, "training")
    except ModelError as err:
        raise UsageError(err.fact, where=f"{path}, {err.where}", hint=err.hint) from err


def _of_data(data: dict[str, Any], path: Path) -> dict[str, Any]:
    if not data:
        return {}
    recipe = data.get("recipe")
    if recipe:
        own = {
            "recipe": recipe["name"],
            "variant": recipe.get("variant"),
            "data_folder": data.get("train"),
            "split": data.get("split"),
            "test_frames": data.get("test_frames"),
            "on_bad": data.get("on_bad"),
        }
        return {
            **own,
            **{name: data.get(name) for name in (*_EARLIER, "references", "allow")},
            **_share(data),
        }
    if isinstance(data.get("references"), dict):
        raise UsageError(
            "Reference energies in the configuration of a run cannot be read.",
            where=f"{path}, data.references",
            hint="write them to a YAML file of their own and name it: references: e0s.yaml",
        )
    options = {name: data.get(name) for name in _SAME_NAME}
    options.update({name: _listed(data.get(name)) for name in ("valid", "test")})
    options.update(_share(data), train_option=_listed(data.get("train")))
    options.update({f"{name}_key": value for name, value in (data.get("keys") or {}).items()})
    if data.get("valid_every"):
        options["valid_every"] = data["valid_every"]
    elif not data.get("valid"):
        options["valid_fraction"] = data.get("valid_fraction")
    target = _target(data)
    if target:
        given = {
            "target_kind": target.get("kind"),
            "class_weights": target.get("class_weights"),
            "target_unit": target.get("unit"),
        }
        # What is at its default is left out: it has no meaning for the other kinds.
        plain = {name: value for name, value in given.items() if value not in ("equal", "label units")}
        options.update(target=target["key"], pooling=target.get("pooling"), **plain)
    return options


def _target(data: dict[str, Any]) -> dict[str, Any]:
    """The section of the target; in the first version of the file it was ``scalar``, and its key
    ``target``."""
    first = data.get("scalar")
    return {**first, "key": first["target"]} if first else data.get("target") or {}


def _share(data: dict[str, Any]) -> dict[str, Any]:
    return {"replay_share": data.get("replay_share")} if data.get("replay") else {}


def _listed(given: Any) -> list[Any]:
    """One file or several, as a list."""
    return given if isinstance(given, list) else [] if given is None else [given]


def _theory(given: Any, path: Path) -> Any:
    """The table of a level of theory as the text of its option; None for one without fields."""
    from ...training.finetuning.theory import as_text, read_theory

    if not isinstance(given, dict):
        return given
    return as_text(read_theory(given, f"{path}, theory")) if any(given.values()) else None


def _of_start(start: dict[str, Any], path: Path) -> dict[str, Any]:
    """The section of the start model; in the first version of the file ``head`` was the new head, and the old
    one ``init_head``."""
    first = "init_head" in start
    head = start.get("init_head" if first else "head")
    return {
        "model": start.get("model"),
        "head_name": start.get("head" if first else "head_name"),
        "head": None if head == "auto" else head,
        "keep_heads": start.get("keep_heads"),
        "committee": start.get("committee"),
        "graph": start.get("graph"),
        "dtype": start.get("dtype"),
        "level_of_theory": start.get("level_of_theory"),
        "theory": _theory(start.get("theory"), path),
    }
