"""Sites of CIF files that several atoms share: ASE keeps one of them, or all, without a word."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadStructureError

if TYPE_CHECKING:
    from ase import Atoms

_SAME_PLACE = r"scaled_positions \d+ and \d+ are equivalent"


def cif_images(source: Path) -> Iterator[Atoms]:
    """The structures of a CIF file.

    BadStructureError, naming the block, for disorder groups and for two elements on one site.
    """
    import ase.io
    from ase.io.cif import parse_cif

    with source.open("rb") as stream:
        blocks = [block for block in parse_cif(stream, "ase") if block.has_structure()]
    for number, block in enumerate(blocks):
        groups = {str(group) for group in block.get("_atom_site_disorder_group") or ()} - {".", "?"}
        if len(groups) > 1:
            raise _shared(f"The sites belong to {len(groups)} disorder groups", number, block)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        images = ase.io.read(source, index=":", format="cif")
    for text in (str(warning.message) for warning in told):
        if re.fullmatch(_SAME_PLACE, text):
            _check_one_element(text, blocks)
    yield from images


def _check_one_element(text: str, blocks: list[Any]) -> None:
    """BadStructureError where the two sites of ASE's warning hold different elements in any block."""
    first, second = (int(number) for number in re.findall(r"\d+", text))
    for number, block in enumerate(blocks):
        symbols = block.get_symbols()
        if max(first, second) < len(symbols) and symbols[first] != symbols[second]:
            raise _shared(
                f"Sites {first} ({symbols[first]}) and {second} ({symbols[second]}) are one place",
                number,
                block,
            )


def _shared(what: str, number: int, block: Any) -> BadStructureError:
    return BadStructureError(
        f"{what}: a disordered structure cannot be computed as it is.",
        where=f"frame {number} (data_{block.name})",
        hint="make an ordered supercell, or choose one occupation",
    )
