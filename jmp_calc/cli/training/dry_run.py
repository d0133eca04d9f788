"""What ``finetune --dry-run`` and ``pretrain --dry-run`` say: audit, what was found, schedule and cost of the
run."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dry_run import Section, dry_run_report
from ..options import Common

if TYPE_CHECKING:
    from ...training.audit.audit import SetSummary
    from ...training.distributed.launch import DistributedConfig
    from ...training.finetuning.options import DataOptions
    from ...training.finetuning.prepare import Prepared
    from ...training.planning.plan import Machines, Plan
    from ...training.pretraining.options import PretrainOptions
    from ...training.pretraining.recipe import PretrainRecipe
    from ...training.pretraining.shards import Shards
    from ...training.pretraining.source_set import SourceSet


def show_finetune(common: Common, prepared: Prepared, distributed: DistributedConfig) -> None:
    """Print the report of a fine-tuning; data that the audit refuses have no schedule, and end with the error
    of the run."""
    from ...training.planning.plan import plan_finetune

    sections = {"found": _found(prepared), "audit": _audit(prepared)}
    if not prepared.audit.errors:
        sections |= _planned(plan_finetune(prepared, _machines(common, distributed)))
    recipe = prepared.data.recipe
    dry_run_report(common, "finetune", {} if recipe is None else {"recipe": recipe.name}, sections)
    prepared.audit.raise_if_refused()


def show_pretrain(
    common: Common, recipe: PretrainRecipe, options: PretrainOptions, distributed: DistributedConfig
) -> None:
    """Print the report of a pre-training; without data, what the recipe says, and where it would make frames,
    which: they are not made."""
    from ...training.planning.plan import plan_pretrain
    from ...training.pretraining.recipe import PACK_FILE, outputs
    from ...training.pretraining.sets import shards_of, source_sets

    began, mixture = time.monotonic(), recipe.mixture
    facts = {
        "network": recipe.model.architecture,
        "sets": ", ".join(item.name for item in mixture.sets),
        "heads": ", ".join(head.name for head in mixture.heads),
        "temperature": f"{mixture.temperature:g}",
        "writes": ", ".join(outputs(recipe)),
    }
    own = common.out / PACK_FILE
    if options.pack is None and own.is_file():
        options = dataclasses.replace(options, pack=own)
    reads_data = any(item.made is None for item in mixture.sets) or options.shards is None
    if options.data is None and options.pack is None and reads_data:
        dry_run_report(
            common, "pretrain", {**facts, "schedule and cost": "unknown without --data FOLDER or --pack FILE"}
        )
        return
    shards = None if options.pack is not None else shards_of(recipe, options)
    to_make = None if shards is None else _to_make(recipe, options, shards)
    if to_make is not None:
        facts["schedule and cost"] = "unknown until these frames are made"
        dry_run_report(common, "pretrain", facts, {"to make": to_make})
        return
    sets = source_sets(recipe, None, options, lambda line: None)
    found = {source.name: _set_row(source) for source in sets}
    plan = plan_pretrain(recipe, sets, options.valid_frames, _machines(common, distributed), began)
    section = Section(found, [f"{name}: {_set_line(row)}" for name, row in found.items()])
    dry_run_report(common, "pretrain", facts, {"found": section, **_planned(plan)})


def _to_make(recipe: PretrainRecipe, options: PretrainOptions, shards: Shards) -> Section | None:
    """The frames that the run would make first, after a check of files and teachers; None: all are there."""
    from ...io.files import check_file
    from ...training.pretraining.make import check_making, missing_lots, read_makers

    lots = missing_lots(recipe.mixture, shards, recipe.seed, options.data)
    if not lots:
        return None
    for item in recipe.mixture.sets:
        for file in item.files:
            check_file((options.data or Path()) / file)
    check_making(lots, read_makers(options.teachers))
    record = {
        f"{lot.part.name}/{lot.item.name}": {
            "frames": lot.frames,
            "sample": lot.made.sample,
            "calculator": lot.made.calculator,
            "is_sampled": lot.samples.is_file(),
            "folder": str(lot.folder),
        }
        for lot in lots
    }
    return Section(record, [_lot_line(row) for row in record.values()])


def _lot_line(row: Mapping[str, Any]) -> str:
    drawn = "drawn already" if row["is_sampled"] else "to draw"
    return f"{row['folder']}: {row['frames']} {row['sample']}, {drawn}, to label with {row['calculator']}"


def _machines(common: Common, distributed: DistributedConfig) -> Machines:
    from ...training.planning.plan import Machines

    return Machines(common.device, common.dtype, (distributed.devices or 1) * distributed.num_nodes)


def _planned(plan: Plan) -> dict[str, Section]:
    schedule, cost = plan.schedule, plan.cost
    return {
        "schedule": Section(
            {**schedule.to_dict(), "messages": list(plan.messages)}, [*plan.messages, *schedule.lines()]
        ),
        "cost": Section(cost.to_dict(), cost.lines()),
    }


def _found(prepared: Prepared) -> Section:
    report, references = prepared.audit, prepared.references
    parts = {"training": report.train, "validation": report.valid, "test": report.test}
    units = _units(prepared.data)
    record = {
        **{name: dataclasses.asdict(part) for name, part in parts.items()},
        "units": units,
        "references": None if references is None else dataclasses.asdict(references),
        "target": None if prepared.target is None else prepared.target.facts(),
        "level_of_theory": prepared.start.level,
        "theory": dataclasses.asdict(prepared.start.theory),
        "messages": list(prepared.messages),
    }
    lines = [
        *prepared.messages,
        *(_part_line(name, part) for name, part in parts.items()),
        *_label_lines(report.train),
    ]
    lines += [f"level of theory: {prepared.start.level}", f"units: {units}"]
    lines.append(
        "references: "
        + ("none" if references is None else f"{references.kind}, eV: {_by_symbol(references.values)}")
    )
    if prepared.target is not None:
        lines.append(f"target: {prepared.target.message}")
    return Section(record, list(dict.fromkeys(lines)))


def _units(data: DataOptions) -> str:
    if data.target is not None:
        return data.target.unit
    given = data.units.named
    return f"eV and Å, converted from {given}" if given else "eV and Å"


def _part_line(name: str, part: SetSummary) -> str:
    if not part.frames:
        return f"{name} frames: 0"
    labels = (("energy", part.with_energy), ("forces", part.with_forces), ("stress", part.with_stress))
    counted = ", ".join(f"{label} in {count}" for label, count in labels if count)
    groups = (
        f"; groups {', '.join(f'{group} {count}' for group, count in part.groups.items())}"
        if len(part.groups) > 1
        else ""
    )
    elements = ", ".join(_symbols(part.elements))
    return (
        f"{name} frames: {part.frames}, {part.atoms} atoms of "
        f"{elements}{'; ' if counted else ''}{counted}{groups}"
    )


def _label_lines(part: SetSummary) -> list[str]:
    lines = []
    if part.energy_mean_ev_per_atom is not None:
        lines.append(
            f"training energies: mean {part.energy_mean_ev_per_atom:.4f}, standard deviation "
            f"{part.energy_std_ev_per_atom:.4f} eV/atom"
        )
    if part.force_rms_ev_per_a is not None:
        lines.append(
            f"training forces: root mean square {part.force_rms_ev_per_a:.4f}, largest "
            f"{part.force_max_ev_per_a:.4f} eV/Å"
        )
    return lines


def _audit(prepared: Prepared) -> Section:
    from ...training.finetuning.prepare import str_finding

    report = prepared.audit
    count = f"{len(report.errors)} errors, {len(report.warnings)} warnings"
    record = {
        "errors": len(report.errors),
        "warnings": len(report.warnings),
        "findings": [dataclasses.asdict(finding) for finding in report.findings],
    }
    return Section(record, [count, *(str_finding(finding) for finding in report.findings)])


def _set_row(source: SourceSet) -> dict[str, Any]:
    found = source.described
    return {
        "head": found.head,
        "training_frames": len(source.train),
        "validation_frames": len(source.valid),
        "mean_atoms": source.mean_atoms,
        "elements": _symbols(sorted(found.references)),
        "force_rms_ev_per_a": found.force_rms,
        "energy_std_ev": source.energy_std,
        "left_out": dict(found.dropped),
        "licence": found.licence,
    }


def _set_line(row: Mapping[str, Any]) -> str:
    left_out = ", ".join(f"{reason} {count}" for reason, count in row["left_out"].items() if count)
    return (
        f"head {row['head']}, {row['training_frames']} training and {row['validation_frames']} validation "
        "frames of "
        f"{row['mean_atoms']:.1f} atoms ({', '.join(row['elements']) or 'no reference energies'}); forces: "
        "root mean square "
        f"{row['force_rms_ev_per_a']:.3f} eV/Å" + (f"; left out: {left_out}" if left_out else "")
    )


def _symbols(numbers: Sequence[int]) -> list[str]:
    from ...model.elements import symbol

    return [symbol(z) for z in numbers]


def _by_symbol(values: Mapping[int, float]) -> str:
    return ", ".join(f"{_symbols([number])[0]} {energy:.4f}" for number, energy in sorted(values.items()))
