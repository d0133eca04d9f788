"""Samples in parts of fifty: each a file of its own, whole or absent, so that a stopped run loses little.

A part is known by the numbers of its samples. The folder also says what is sampled, with which versions;
parts of anything else are thrown away.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..io.atomic import replacing
from ..io.structures import iter_frames
from ..io.summary import file_sha256, write_text_atomic
from ..io.write import write_extxyz
from ..workflows.potentials import potential
from .crystals import CrystalSource
from .exclude import Excluded, excluded_crystals, excluded_molecules
from .own import ELECTRONS, StructureSource, kept_info
from .settings import MOLECULES, STRUCTURES, SampleSettings

if TYPE_CHECKING:
    from ase import Atoms

SIZE = 50
"""Samples of a part: about a second of work."""
RULES = 4
"""Raised with every change after which a seed draws something else."""
_IDENTITY = "identity.json"


class Source(Protocol):
    """Draws samples by their number."""

    def draw(self, index: int, refused: Counter[str]) -> Atoms | None:
        """Sample ``index``, or None where no attempt gave one; ``refused`` counts why attempts failed."""
        ...


@dataclass(frozen=True)
class Part:
    """Samples ``first`` to ``last`` - 1, in a folder."""

    folder: Path
    first: int
    last: int

    @property
    def frames_path(self) -> Path:
        """The samples."""
        return self.folder / f"part-{self.first:010d}.extxyz"

    @property
    def count_path(self) -> Path:
        """Why attempts failed; written before the samples."""
        return self.folder / f"part-{self.first:010d}.json"

    def is_done(self) -> bool:
        """Whether its files are there; they are whole then."""
        return self.frames_path.exists()

    def read(self) -> tuple[Iterator[Atoms], Counter[str]]:
        """Samples, and counts of failed attempts."""
        counts: Counter[str] = Counter(json.loads(self.count_path.read_text(encoding="utf-8")))
        return (iter_frames(self.frames_path) if self.frames_path.stat().st_size else iter(())), counts

    def write(self, frames: list[Atoms], counts: Counter[str]) -> None:
        """Write both files; each appears whole."""
        write_text_atomic(self.count_path, json.dumps(dict(sorted(counts.items()))))
        with replacing(self.frames_path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
            if frames:
                write_extxyz(stream, frames)


def divided(folder: Path, settings: SampleSettings) -> list[Part]:
    """All parts of a set."""
    end = settings.start + settings.count
    return [Part(folder, i, min(i + SIZE, end)) for i in range(settings.start, end, SIZE)]


def make_part(settings: SampleSettings, part: Part) -> Part:
    """Draw and write the samples of a part."""
    counts: Counter[str] = Counter()
    frames = []
    source = opened_source(settings)
    for index in range(part.first, part.last):
        atoms = source.draw(index, counts)
        if atoms is None:
            counts[NO_SAMPLE] += 1
            continue
        atoms.info["sample_id"] = f"{settings.what}-{settings.seed}-{index}"
        frames.append(atoms)
    part.write(frames, counts)
    return part


NO_SAMPLE = "no sample after all attempts"


def opened_source(settings: SampleSettings) -> Source:
    """What draws the samples that are asked for."""
    if settings.what == STRUCTURES:
        return StructureSource(
            settings.structures, settings.all_shares, settings.seed, settings.calc, settings.temperature
        )
    path = None if settings.exclude is None else Path(settings.exclude)
    given = settings.numbers, settings.size, settings.all_shares
    if settings.what == MOLECULES:
        from .molecules import MoleculeSource

        molecules = Excluded() if path is None else excluded_molecules(path)
        return MoleculeSource(*given, molecules, settings.seed)
    crystals = Excluded() if path is None else excluded_crystals(path)
    return CrystalSource(*given, crystals, settings.seed, settings.like, settings.calc)


def claim_parts(folder: Path, settings: SampleSettings) -> None:
    """Make the folder of the parts, or keep it where an earlier run wanted the same."""
    identity = json.dumps(_identity(settings), indent=1, sort_keys=True)
    stored = folder / _IDENTITY
    if stored.exists() and stored.read_text(encoding="utf-8") == identity:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_text_atomic(stored, identity)


def _identity(settings: SampleSettings) -> dict[str, Any]:
    """Everything that samples depend on; the number of samples is not among it."""
    path = None if settings.exclude is None else Path(settings.exclude)
    described = {key: value for key, value in settings.to_dict().items() if key != "count"}
    versions = {name: _version(name) for name in ("jmp-calc", "rdkit", "ase", "numpy", "scipy")}
    return {
        **described,
        "rules": RULES,
        "exclude": None if path is None else file_sha256(path),
        "structures": _fingerprint(settings),
        "calculator": None if settings.calc is None else potential(settings.calc),
        "versions": versions,
    }


def _fingerprint(settings: SampleSettings) -> str:
    """Of one's own structures and those to be like, as far as samples have something of them."""
    hashed = hashlib.sha256()
    for atoms in (*settings.structures, *settings.like):
        electrons = {name: atoms.arrays[name] for name in sorted(ELECTRONS.intersection(atoms.arrays))}
        arrays = {"numbers": atoms.numbers, "positions": atoms.positions, "cell": atoms.cell.array}
        for name, array in (arrays | {"pbc": atoms.pbc} | electrons).items():
            hashed.update(name.encode() + np.ascontiguousarray(array).tobytes())
        hashed.update(repr(kept_info(atoms)).encode())
    return hashed.hexdigest()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
