"""The pre-training mixture: which sets, under which head, how many frames, how often. Read from a recipe
(TOML).

A head stands for one level of theory, with one zero of energy (``energies.py``). It may serve several sets.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, TypeVar

from jmp_calc.errors import ModelError, UsageError
from jmp_calc.io.schema import parse
from jmp_calc.model.config import DefaultHeads, Domain, Theory

from ..data.label_units import LabelUnits, StressSign
from .made import Made

HERE = Path(__file__).parent
HOLDOUT_FILE = HERE / "holdout.toml"

Select = Literal["even", "random"]
Split = Literal["blocks", "composition"]
Normalisation = Literal["force_scale", "jmp", "absolute"]
T = TypeVar("T")

_UNITS = ("energy", "length", "forces", "stress")
"""What a set may declare a unit of, each by a key such as ``energy_unit``."""
_CHOOSING = ("cap", "split", "select", "max_atoms", "max_force", "groups", "not_groups", "info")
"""What chooses among the frames of files; of records, which nobody reads as a whole, all are used."""


@dataclass(frozen=True)
class MixtureHead:
    """One output of the network, one level of theory."""

    name: str
    level_of_theory: str
    keep: bool = True
    """Whether the written model has it; heads of undocumented functionals only help to train the backbone."""
    theory: Theory = Theory()
    """The level of theory in fields."""


@dataclass(frozen=True)
class MixtureSet:
    """One set of labelled frames: files of the data folder, the share of them that is used, and its
    source."""

    name: str
    head: str
    files: tuple[str, ...] = ()
    """Names of files in the data folder; they are read once and packed."""
    made: Made | None = None
    """Instead of ``files``: frames that a stage makes for itself."""
    records: str = ""
    """Instead of ``files``: a folder of ``jmp-calc preprocess``, read frame by frame while training."""
    valid_records: str = ""
    """The same for validation; empty: the last frames of ``records``."""
    cap: int = 1_000_000_000
    """Largest number of frames of ``files``, validation included."""
    split: Split = "blocks"
    """What validates: blocks of every group, by the share of the mixture; or a tenth of all compounds, the
    same in all sets, and their frames train no set of crystals."""
    select: Select = "even"
    """even: every k-th frame of the sorted groups; random: a draw with fixed seed."""
    weight: float = 1.0
    """Multiplies the sampling probability of the set."""
    max_atoms: int = 130
    max_force: float = 25.0
    """eV/Å: frames with a larger force are left out."""
    groups: tuple[str, ...] = ()
    """Patterns of config_type that belong to the set; empty: all."""
    not_groups: tuple[str, ...] = ()
    stress: bool = True
    """Whether a stress in the file is trained on."""
    not_stress_groups: tuple[str, ...] = ()
    """Patterns of config_type whose stress is not trusted."""
    energy: bool = True
    """Whether the energies are trained on (False: forces and stress only)."""
    domain: Domain | None = None
    """What the frames are structures of, where cell and vacuum do not show it (liquids)."""
    constant: bool = False
    """Whether the energies have another zero than those of the other sets of the head (another code, or
    pseudopotentials): a constant per element is then fitted once (``energies.py``)."""
    info: dict[str, int | float | str] = field(default_factory=dict)
    """Entries of the frame that must have this value where they are present (charge = 0)."""
    energy_margin: float = 0.0
    """eV/atom: smaller energy errors do not count (threshold loss, paper Eq. 2); 0: all count."""
    forces_margin: float = 0.0
    """eV/Å: smaller force errors of an atom do not count."""
    cutoff: float | None = None
    """Å of the main graph of this set, where it is not the network's (JMP: 12 and 8)."""
    energy_unit: str | None = None
    """Units of ``files`` that are not in eV and Å; ``jmp-calc preprocess`` has converted records."""
    length_unit: str | None = None
    forces_unit: str | None = None
    stress_unit: str | None = None
    stress_sign: StressSign | None = None
    """What is positive; None: tension."""
    licence: str = "unknown"
    source: str = "unknown"
    """Repository the file comes from."""
    citation: str = ""

    @property
    def units(self) -> LabelUnits:
        """Units of the files; UsageError for one that is none."""
        return LabelUnits(
            energy=self.energy_unit,
            length=self.length_unit,
            forces=self.forces_unit,
            stress=self.stress_unit,
            stress_sign=self.stress_sign or "tension",
        )

    def wants(self, group: str) -> bool:
        """Whether a config_type belongs to the set."""
        return (not self.groups or _matches(group, self.groups)) and not _matches(group, self.not_groups)

    def wants_stress(self, group: str) -> bool:
        """Whether the stress of a config_type is trained on."""
        return self.stress and not _matches(group, self.not_stress_groups)


@dataclass(frozen=True)
class Mixture:
    """All sets and heads of one recipe."""

    name: str
    sets: tuple[MixtureSet, ...]
    heads: tuple[MixtureHead, ...]
    default_head: str
    default_for_molecules: str = ""
    """The default for structures without a periodic direction; empty: the other one."""
    temperature: float = 2.0
    """Sampling: share of a set ~ weight * frames^(1/temperature), by repeating frames; inf: ~ weight."""
    normalisation: Normalisation = "force_scale"
    """Units of the errors of a set, see ``sets.task_of``."""
    max_frame_edges: int = 1_000_000
    """Frames with more main edges are not trained on: one of them would be a whole step."""
    max_degree: int = 66
    """Frames with an atom of more main edges are left out: the sums of a batch are padded to the largest
    number."""
    validation_fraction: float = 0.025
    validation_max: int = 100
    """Largest number of validation frames per set."""
    seed: int = 0

    def __post_init__(self) -> None:
        names = [head.name for head in self.heads]
        for kind, found in (("head", names), ("set", [s.name for s in self.sets])):
            twice = sorted({name for name in found if found.count(name) > 1})
            if twice:
                raise UsageError(f"The recipe names the {kind} {twice[0]!r} twice.", where=self.name)
        with_files = [item.name for item in self.sets if item.files]
        for item in self.sets:
            if item.head not in names:
                raise UsageError(
                    f"Set {item.name!r} has the unknown head {item.head!r}.",
                    where=self.name,
                    hint=f"heads of the recipe: {', '.join(names)}",
                )
            if [bool(item.files), bool(item.records), item.made is not None].count(True) != 1:
                raise UsageError(f"Set {item.name!r} needs either files, records or made.", where=self.name)
            unknown = [] if item.made is None else [n for n in item.made.like if n not in with_files]
            if unknown:
                raise UsageError(
                    f"Set {item.name!r} is to be like {unknown[0]!r}, which is no set with files.",
                    where=self.name,
                    hint=f"sets with files: {', '.join(with_files)}",
                )
            if item.cap < 1 or item.weight <= 0:
                raise UsageError(f"Set {item.name!r} needs cap >= 1 and weight > 0.", where=self.name)
        if not self.temperature > 0:
            raise UsageError(
                f"The temperature {self.temperature} is not positive.",
                where=self.name,
                hint="1: natural shares, 2: square roots of them, inf: equal shares",
            )
        idle = [name for name in names if name not in {item.head for item in self.sets}]
        if idle:
            raise UsageError(f"No set trains the head {idle[0]!r}.", where=self.name)
        for name in (self.default_head, self.default_for_molecules or self.default_head):
            if name not in names or not self.head(name).keep:
                raise UsageError(f"The default head {name!r} is not a kept head.", where=self.name)

    def defaults(
        self, written: Sequence[str], seen: Mapping[str, Sequence[Domain]] | None = None
    ) -> str | DefaultHeads:
        """The default heads of a model with the heads ``written``, one of them if it has one kind of heads.

        ``seen``: what heads are trained on. For a default that is not written the first of the others stands
        that has seen such structures: never a head of molecules for crystals.
        """
        seen = seen or {}

        def default(wanted: str, *, periodic: bool) -> str | None:
            fits = [n for n in written if any((d != "molecules") == periodic for d in seen.get(n, ()))]
            return wanted if wanted in written else next(iter(fits), None)

        crystals = default(self.default_head, periodic=True)
        molecules = crystals
        if self.default_for_molecules is not None:
            molecules = default(self.default_for_molecules, periodic=False)
        if crystals is None or molecules is None or crystals == molecules:
            return crystals or molecules or written[0]
        return DefaultHeads(molecules, crystals)

    def head(self, name: str) -> MixtureHead:
        """The head called ``name``; KeyError if there is none."""
        return {head.name: head for head in self.heads}[name]

    def sets_of(self, head: str) -> tuple[MixtureSet, ...]:
        """The sets that train a head, in the order of the recipe."""
        return tuple(item for item in self.sets if item.head == head)


def read_recipe(name_or_path: str | Path) -> dict[str, Any]:
    """Content of a recipe: a path to a TOML file, or the name of one in ``training/pretraining/recipes``
    (jmp-xs).

    Raises:
        UsageError: no such recipe, or not TOML.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = HERE / "recipes" / f"{str(name_or_path).replace('-', '_')}.toml"
    if not path.is_file():
        raise UsageError(
            f"There is no recipe {str(name_or_path)!r}.",
            where=str(path),
            hint=f"known: {', '.join(recipe_files())}",
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The recipe is not valid TOML: {error}.", where=str(path)) from error


def recipe_files() -> tuple[str, ...]:
    """Names of the recipes in ``training/pretraining/recipes``."""
    return tuple(sorted(path.stem.replace("_", "-") for path in (HERE / "recipes").glob("*.toml")))


def changed(content: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Content of a recipe with settings replaced, each written as ``table.key=value`` with a value as in
    TOML.

    Raises:
        UsageError: not a setting, or not a table of the recipe.
    """
    result = copy.deepcopy(content)
    for change in changes:
        path, equals, text = change.partition("=")
        *tables, key = path.strip().split(".")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()  # a word without quotes
        if not equals or not tables or not key:
            raise UsageError(
                f"{change!r} is not a setting.", where="--set", hint="write it as train.optim.lr=1e-3"
            )
        table = result
        for name in tables:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise UsageError(f"{name} is not a table of the recipe.", where=f"--set {change}")
        table[key] = value
    return result


def load_mixture(name_or_path: str | Path) -> Mixture:
    """The mixture of a recipe; unknown keys, values of a wrong type, heads without sets and held-out sets are
    refused."""
    return mixture_of(read_recipe(name_or_path), str(name_or_path))


def mixture_of(content: dict[str, Any], where: str = "recipe") -> Mixture:
    """The same from the content of a recipe; ``where`` is named in errors."""
    heads = [parse_table(MixtureHead, *named, where) for named in _named(content, "heads", where)]
    sets = [parse_table(MixtureSet, *named, where) for named in _named(content, "sets", where)]
    for item in sets:
        check_keys(item, where)
    table = dict(_table(content, "mixture", where))
    if (
        equal_shares := table.get("temperature") == math.inf
    ):  # the only number of a recipe that may be infinite
        del table["temperature"]
    parts = {
        "heads": [dataclasses.asdict(head) for head in heads],
        "sets": [dataclasses.asdict(item) for item in sets],
    }
    mixture = parse_table(Mixture, {**table, **parts}, "mixture", where)
    mixture = dataclasses.replace(mixture, temperature=math.inf) if equal_shares else mixture
    refuse_holdout(mixture)
    return mixture


def check_keys(item: MixtureSet, where: str) -> None:
    """UsageError naming table and key of a unit that is none, or of what is not done to records: units,
    choices."""
    for key in (*(f"{kind}_unit" for kind in _UNITS), "stress_sign"):
        if item.records and getattr(item, key) is not None:
            raise UsageError(
                f"Set {item.name!r} is read from records, which are in eV and Å.",
                where=f"{where} [sets.{item.name}.{key}]",
                hint="leave the key out and declare the units to jmp-calc preprocess",
            )
    usual = MixtureSet(item.name, item.head)
    for key in _CHOOSING:
        if item.records and getattr(item, key) != getattr(usual, key):
            raise UsageError(
                f"Set {item.name!r} is read from records, of which all frames are used.",
                where=f"{where} [sets.{item.name}.{key}]",
                hint="leave the key out and choose the frames before jmp-calc preprocess",
            )
    for kind in _UNITS:
        key = f"{kind}_unit"
        try:
            LabelUnits(**{kind: getattr(item, key)})
        except UsageError as error:
            raise UsageError(
                error.fact, where=f"{where} [sets.{item.name}.{key}]", hint=error.hint
            ) from error


def parse_table(kind: type[T], table: object, key: str, where: str) -> T:
    """One table of a recipe as a dataclass; UsageError naming the key that cannot be meant."""
    try:
        return parse(kind, table, key)
    except ModelError as error:
        raise UsageError(
            f"The recipe: {error.fact}", where=f"{where} [{error.where}]", hint=error.hint
        ) from error


def _named(content: dict[str, Any], key: str, where: str) -> list[tuple[object, str]]:
    """Every table under ``key`` with its name as an entry, and its path."""
    return [
        ({"name": name, **entry} if isinstance(entry, dict) else entry, f"{key}.{name}")
        for name, entry in _table(content, key, where).items()
    ]


def _table(content: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    table = content.get(key, {})
    if not isinstance(table, dict):
        raise UsageError(f"The recipe: {key} is not a table but {table!r}.", where=where)
    return table


def holdout_patterns(path: Path = HOLDOUT_FILE) -> dict[str, tuple[str, ...]]:
    """Patterns of the sets that are never trained on, by reason."""
    return {
        reason: tuple(patterns)
        for reason, patterns in tomllib.loads(path.read_text(encoding="utf-8")).items()
    }


def holdout_reason(file: str) -> str | None:
    """Why a file may not be trained on (labelled, tests, scalar, licence), or None."""
    stem = Path(file).name.split(".")[0]
    for reason, patterns in holdout_patterns().items():
        if _matches(stem, patterns):
            return reason
    return None


def refuse_holdout(mixture: Mixture) -> None:
    """UsageError naming the first set that the hold-out list keeps for measuring transfer."""
    for item in mixture.sets:
        for file in item.files:
            reason = holdout_reason(file)
            if reason is not None:
                raise UsageError(
                    f"{file} is held out ({reason}) and no jmp-xs may see it.",
                    where=str(HOLDOUT_FILE),
                    hint=f"take it out of set {item.name!r}",
                )


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
