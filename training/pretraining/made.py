"""What a recipe says of frames that a stage makes for itself; ``make.py`` makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jmp_calc.errors import UsageError


@dataclass(frozen=True)
class Made:
    """Frames that are sampled and labelled anew for every stage, from its seed (``shards.py``)."""

    sample: Literal["molecules", "crystals"]
    """What ``jmp-calc sample`` makes."""
    calculator: str
    """Who labels them: a name of ``jmp-calc label``. Sets with the same ``sample`` share their structures."""
    frames: int
    """Structures of a stage."""
    valid_frames: int = 0
    """Structures of the validation part, which is the same in every stage."""
    elements: tuple[str, ...] = ()
    """Symbols that structures are made of; empty: all that the sample and the teacher know."""
    like: tuple[str, ...] = ()
    """Sets with files, whose crystals to train on lend their structure types to half of those of a stage."""
    relaxed_by: str = ""
    """Model that relaxes half of a stage's crystals for a few steps; empty: none is relaxed."""
    relaxed_head: str = ""
    """Head of that model."""
    draw: int = 0
    """Sets of the same sample with another number have other structures."""
    max_spread: float | None = None
    """eV/Å: frames on whose forces the networks of an ensemble differ more are left out."""

    def __post_init__(self) -> None:
        if self.frames < 1 or self.valid_frames < 0 or self.draw < 0:
            raise UsageError("Made frames need frames >= 1, valid_frames >= 0 and draw >= 0.", where="recipe")
        if self.like and self.sample != "crystals":
            raise UsageError("Structure types are those of crystals.", where="recipe [like]")
        if self.relaxed_by and self.sample != "crystals":
            raise UsageError("Crystals alone are relaxed by a model.", where="recipe [relaxed_by]")
        if bool(self.relaxed_by) != bool(self.relaxed_head):
            raise UsageError(
                "The model that relaxes needs a head, and a head a model.", where="recipe [relaxed_by]"
            )
