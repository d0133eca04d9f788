"""Which structures are asked together: decided by the input alone, so that a resumed run asks the same.

The input is cut into windows of a fixed number of frames, each window into batches of similar size. A batch
is known by the content of its structures: what was labelled before counts as long as it is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from ..checks import check_sound
from ..errors import BadStructureError
from ..io.structures import NamedFrame
from ..model.elements import symbol
from ..unread import check_whole_sites, is_charged
from .labels import Batches, TeacherFacts
from .pipe import frames_to_arrays
from .state import asked

if TYPE_CHECKING:
    from ase import Atoms

FRAMES_PER_WINDOW = 64
"""At least; of teachers that take many at once, so many batches as make sizes within a batch alike."""
BATCHES_PER_WINDOW = 16
ISOLATED = "isolated"
"""Value of ``info["sample_kind"]`` of one free atom."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Structures that a teacher is asked about together."""

    places: tuple[int, ...]
    """Their numbers in the window."""
    questions: tuple[Atoms, ...]
    key: str
    """SHA-256 of what is asked."""


@dataclass(frozen=True, eq=False)
class Window:
    """Some frames of the input, one after the other, and how they are asked."""

    frames: Sequence[NamedFrame]
    batches: Sequence[Batch]
    refused: dict[int, str] = field(default_factory=dict)
    """Frames that are not asked at all, by their number in the window, and why."""
    added: bool = False
    """Isolated atoms that the input has not."""


def planned(frames: Iterable[NamedFrame], facts: TeacherFacts, *, isolated: bool) -> Iterator[Window]:
    """The windows of the input, and last one with the isolated atoms of its elements that it lacks; errors
    of the files are raised when they are reached."""
    size = max(FRAMES_PER_WINDOW, BATCHES_PER_WINDOW * facts.batches.frames)
    source = iter(frames)
    seen: set[int] = set()
    free: set[int] = set()
    while window := list(islice(source, size)):
        planned_window = _window(window, facts)
        for place, frame in enumerate(window):
            if place not in planned_window.refused:
                seen |= set(frame.atoms.numbers.tolist())
                free |= set(frame.atoms.numbers.tolist()) if is_isolated(frame.atoms) else set()
        yield planned_window
    if isolated and facts.domain != "crystals" and seen - free:
        yield _window([_isolated(number) for number in sorted(seen - free)], facts, added=True)


def is_isolated(atoms: Atoms) -> bool:
    """Whether it is one free neutral atom."""
    return len(atoms) == 1 and not atoms.pbc.any() and not is_charged(atoms.info)


def _isolated(number: int) -> NamedFrame:
    from ase import Atoms

    info = {"sample_kind": ISOLATED, "sample_id": f"{ISOLATED}-{symbol(number)}"}
    return NamedFrame(Atoms([number], [[0.0, 0.0, 0.0]], info=info), "isolated atoms", number)


def _window(frames: Sequence[NamedFrame], facts: TeacherFacts, *, added: bool = False) -> Window:
    questions: dict[int, Atoms] = {}
    refused: dict[int, str] = {}
    for place, frame in enumerate(frames):
        try:
            questions[place] = _question(frame.atoms, facts)
        except BadStructureError as error:
            refused[place] = error.fact
    batches = [_batch(places, questions) for places in _together(questions, facts.batches)]
    return Window(frames, batches, refused, added)


def _question(atoms: Atoms, facts: TeacherFacts) -> Atoms:
    """The structure as the teacher gets it; BadStructureError for one that it cannot label."""
    check_sound(atoms)
    check_whole_sites(atoms.info, atoms.arrays)
    unknown = sorted(set(atoms.numbers.tolist()) - set(facts.elements)) if facts.elements else []
    if unknown:
        names = ", ".join(map(symbol, unknown))
        raise BadStructureError(f"The teacher does not know {names}.")
    if facts.domain == "crystals" and not atoms.pbc.all():
        raise BadStructureError("The teacher knows crystals only, and this structure is none.")
    if facts.domain == "molecules" and atoms.pbc.any():
        raise BadStructureError("The teacher knows molecules only, and this structure is periodic.")
    return asked(atoms, facts)


def _together(questions: dict[int, Atoms], most: Batches) -> Iterator[list[int]]:
    """Places of the structures of each batch: of similar size where there are several."""
    order = list(questions) if most.frames == 1 else sorted(questions, key=lambda n: (len(questions[n]), n))
    batch: list[int] = []
    atoms = 0
    for place in order:
        size = len(questions[place])
        if batch and (len(batch) == most.frames or (most.atoms is not None and atoms + size > most.atoms)):
            yield batch
            batch, atoms = [], 0
        batch.append(place)
        atoms += size
    if batch:
        yield batch


def _batch(places: Sequence[int], questions: dict[int, Atoms]) -> Batch:
    own = tuple(questions[place] for place in places)
    digest = hashlib.sha256()
    for name, array in frames_to_arrays(own).items():
        digest.update(f"{name} {array.shape}".encode() + array.tobytes())
    return Batch(tuple(places), own, digest.hexdigest())
