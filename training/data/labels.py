"""Labelled structures: their conversion to eV, Å and ASE's signs, isolated atoms apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jmp_calc.errors import BadInputError
from jmp_calc.io.raw_frame import RawFrame, atom_column, symmetric_matrix
from jmp_calc.io.schema import first_five
from jmp_calc.io.stated_units import check_stated_units
from jmp_calc.units import UnitKind
from jmp_calc.unread import is_charged, state_given

from .frame import Frame, LabelledSet
from .held import held_atoms
from .keys import AUTOMATIC, LabelKeys, available_keys, check_given, choose_keys, label_numbers, lookup
from .label_units import LabelUnits, Scales
from .raw import read_raw
from .screen import refuse_unsound
from .sources import ISOLATED_TOLERANCE, MEMORY, raw_structures
from .target_labels import TargetKind, kind_of_labels, target_labels

if TYPE_CHECKING:
    from ase import Atoms


def read_labelled(
    given: str | Path | Sequence[Atoms],
    *,
    keys: LabelKeys = LabelKeys(),
    index: str | int = ":",
    allow_truncated: bool = False,
    require: Sequence[str] = ("energy", "forces"),
    units: LabelUnits = LabelUnits(),
    target: str | None = None,
    target_kind: TargetKind | None = None,
    other_states: bool = False,
) -> LabelledSet:
    """Read energies, forces and stresses from extxyz, traj, db, npz or any file that ASE reads, packed or
    not; or from structures in memory.

    ``require`` names the labels that every frame must have. ``units`` convert a file that is not
    in eV and Å. With ``target`` this scalar, class or vector (``target_kind``; None: as the labels look) is
    read, in the units of the file, instead of energies, forces and stresses; frames may lack it. Single atoms
    marked ``config_type=IsolatedAtom``, or without periodicity, are apart from the frames: of a training file
    they can be references. ``other_states`` takes
    frames whose charge or spin is not that of a neutral singlet, with a message. Raises BadInputError, naming
    the frame, when labels are missing, contradictory or
    misshapen, for a structure that cannot be computed, and for such frames otherwise.
    """
    if isinstance(given, (str, Path)):
        path, raw = Path(given), read_raw(given, index=index, allow_truncated=allow_truncated)
    else:
        path, raw = Path(MEMORY), raw_structures(given, index)
    check_unit_known(raw.foreign_units, units, path)
    scales = units.scales()
    check_given(raw.frames, keys, target, path)
    used, messages = choose_keys(raw.frames, keys, target, path)
    kind: TargetKind = target_kind or "scalar"
    if target is not None and target_kind is None:
        labels = (lookup(frame, "target", target) for frame in raw.frames)
        kind, reason = kind_of_labels([label for label in labels if label is not None], target)
        messages.append(reason)
    frames: list[Frame] = []
    isolated: dict[int, float] = {}
    charged: list[int] = []
    ions: list[int] = []
    for item in raw.frames:
        frame = label_frame(item, used, path.name, scales, target, kind)
        refuse_unsound(frame)
        if target is None and is_isolated(item, frame):
            _add_isolated(isolated, frame)
            continue
        if not other_states:
            refuse_other_state(item, path.name)
        if target is None and is_lone(item, frame):
            ions.append(item.index)
            continue
        if other_states and state_given(item.info, item.numbers) is not None:
            charged.append(item.index)
        frames.append(frame)
    if charged:
        messages.append(
            f"Charge or spin of {len(charged)} frames is not read by the model: frames {_numbers(charged)}."
        )
    if ions:
        messages.append(f"Single ions, which are no reference of an atom, left out: frames {_numbers(ions)}.")
    if isolated:
        from jmp_calc.model.elements import symbol

        names = ", ".join(symbol(z) for z in sorted(isolated))
        messages.append(f"Isolated atoms, left out of the frames: {names}.")
    _require(frames, require if target is None else (), raw.frames, used, path)
    return LabelledSet(tuple(frames), isolated, used, tuple(raw.messages) + tuple(messages), kind)


def _numbers(frames: Sequence[int]) -> str:
    return first_five([str(number) for number in frames])


def refuse_other_state(raw: RawFrame, source: str) -> None:
    """BadInputError for a frame whose charge or spin is not that of a neutral singlet: the model would be
    trained or judged on it as one."""
    found = state_given(raw.info, raw.numbers)
    if found is not None:
        key, value, what = found
        raise BadInputError(
            f"The key {key!r} is {str(value)[:60]}: {what} is not that of a neutral singlet, "
            "and no model reads it.",
            where=f"{source} frame {raw.index}",
            hint="leave such frames out; finetune takes them as they are with --allow not_neutral",
        )


def check_unit_known(foreign: bool, units: LabelUnits, path: Path) -> None:
    """BadInputError for a layout whose unit of energy only the user can know."""
    if foreign and units.energy is None:
        raise BadInputError(
            f"{path.name} has the layout of rMD17/sGDML, whose units differ from file to file.",
            where=str(path),
            hint="say which: --energy-unit kcal/mol (or eV, hartree), energy_unit in the set of a recipe",
        )


# ---- one frame
# ----------------------------------------------------------------------------------------------------


def label_frame(
    raw: RawFrame,
    keys: LabelKeys,
    source: str,
    scales: Scales,
    target: str | None,
    target_kind: TargetKind = "scalar",
) -> Frame:
    """One frame in eV and Å with the labels under ``keys``; BadInputError for labels of a wrong shape or not
    finite places."""
    where = f"{source} frame {raw.index}"
    if not np.isfinite(raw.positions).all() or not np.isfinite(raw.cell).all():
        raise BadInputError("Positions or cell are not finite.", where=where)

    units: dict[UnitKind, float] = scales.by_kind if target is None else {"length": scales.length}
    check_stated_units(raw.info, units, where=where, hint="say which with the options of units")

    def value(label: str) -> np.ndarray | None:
        key = getattr(keys, label)
        found = None if key is None else lookup(raw, label, key)
        return None if found is None else label_numbers(found, label, source, raw)

    cell = raw.cell * scales.length
    energy, forces = value("energy"), value("forces")
    if energy is not None and energy.size != 1:
        raise BadInputError(f"The energy has shape {energy.shape}, not one number.", where=where)
    if forces is not None and forces.shape != (len(raw.numbers), 3):
        raise BadInputError(
            f"The forces have shape {forces.shape}, not {(len(raw.numbers), 3)}.", where=where
        )
    volume = abs(float(np.linalg.det(cell)))
    stress = None
    if raw.pbc.sum() >= 2 and volume > 0:
        given, virials = value("stress"), value("virials")
        if given is not None:
            stress = symmetric_matrix(given, "stress", where) * scales.stress
        elif virials is not None:
            sign = math.copysign(1.0, scales.stress)  # pressure: of the virials, too
            stress = -sign * symmetric_matrix(virials, "virials", where) * scales.energy / volume
    tags = raw.arrays.get("tags")
    given = None if target is None else lookup(raw, "target", target)
    scalars, classes, vectors = target_labels(target, given, target_kind, where)
    return Frame(
        numbers=raw.numbers,
        positions=raw.positions * scales.length,
        cell=cell,
        pbc=raw.pbc,
        energy=None if energy is None else float(energy.reshape(())) * scales.energy,
        forces=None if forces is None else forces * scales.forces,
        stress=stress,
        group=str(raw.info.get("config_type", raw.info.get("sample_kind", "default"))),
        source=source,
        index=raw.index,
        tags=None if tags is None else atom_column("tags", tags, where),
        head=_text(raw.info.get("head")),
        fixed=held_atoms(raw, where),
        molecules=tuple(str(raw.info.get("molecules", "")).split()),
        origin=_text(raw.info.get("graph", raw.info.get("composition"))),
        prototype=_text(raw.info.get("prototype")),
        targets=scalars,
        classes=classes,
        vectors=vectors,
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


# ---- isolated atoms and completeness
# ------------------------------------------------------------------------------


def is_isolated(raw: RawFrame, frame: Frame) -> bool:
    """Whether a frame is one neutral atom that gives a reference energy."""
    return is_lone(raw, frame) and not is_charged(raw.info)


def is_lone(raw: RawFrame, frame: Frame) -> bool:
    """Whether a frame is one atom or ion by itself, with an energy."""
    if len(raw.numbers) != 1:
        return False
    name = "".join(c for c in str(raw.info.get("config_type", "")).lower() if c.isalnum())
    return name == "isolatedatom" or (frame.energy is not None and not raw.pbc.any())


def _add_isolated(isolated: dict[int, float], frame: Frame) -> None:
    if frame.energy is None or not np.isfinite(frame.energy):
        raise BadInputError(
            "An isolated atom has "
            f"{'no energy' if frame.energy is None else 'an energy that is not finite'}.",
            where=frame.where,
        )
    number = int(frame.numbers[0])
    if abs(isolated.setdefault(number, frame.energy) - frame.energy) > ISOLATED_TOLERANCE:
        raise BadInputError(
            f"Two isolated atoms of element {number} have energies {isolated[number]:.6f} and "
            f"{frame.energy:.6f} eV.",
            where=frame.where,
            hint="keep the one that belongs to these calculations",
        )


def _require(
    frames: Sequence[Frame], labels: Sequence[str], raw: Sequence[RawFrame], used: LabelKeys, path: Path
) -> None:
    checks: dict[str, Callable[[Frame], bool]] = {
        "energy": lambda f: f.energy is None,
        "forces": lambda f: f.forces is None,
        "stress": lambda f: f.stress is None,
    }
    for label in labels:
        missing = [frame.index for frame in frames if checks[label](frame)]
        if not missing:
            continue
        first = ", ".join(str(i) for i in missing[:5])
        available = ", ".join(available_keys(raw, label)) or "none"
        everywhere = len(missing) == len(frames)
        by_number = {frame.index: frame for frame in raw}
        for other in AUTOMATIC[label]:
            count = sum(lookup(by_number[i], label, other) is not None for i in missing)
            if count:
                raise BadInputError(
                    f"{count} of {len(frames)} frames have their {label} under {other!r} and not under "
                    f"{getattr(used, label)!r}.",
                    where=f"{path} frames {first}",
                    hint="write all of them under one key, or train on two files apart",
                )
        raise BadInputError(
            f"{path.name} has no {label}."
            if everywhere
            else f"{len(missing)} of {len(frames)} frames have no {label}.",
            where=str(path) if everywhere else f"{path} frames {first}",
            hint=f"name the key with --{label}-key (found: {available}), or train without: --allow-missing "
            f"{label}",
        )
