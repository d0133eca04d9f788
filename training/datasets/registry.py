"""Data sets by name: how to open one, which parts and splits it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import ani1x, matbench, md22, oc_lmdb, pdbbind, qm9, qmof, rmd17, spice, transition1x
from .base import FrameSource, Parts, choose, foreign


@dataclass(frozen=True)
class Family:
    """One data set with its molecules, tasks or parts."""

    name: str
    members: tuple[str, ...]
    open: Callable[[Path, str], FrameSource]
    """(folder or file, member)"""
    splits: tuple[str, ...]
    """The first is that of the JMP paper; empty: the data set divides itself."""
    split: Callable[[Any, Path, str, str], Parts] | None
    """(opened set, folder, member, split); None: its members are the parts."""


def _read(family: Family) -> Family:
    """The data set with what damaged files make its readers raise in sentences."""

    def opened(folder: Path, member: str) -> FrameSource:
        with foreign(folder):
            return family.open(folder, member)

    def divided(source: Any, folder: Path, member: str, split: str) -> Parts:
        assert family.split is not None
        with foreign(folder):
            return family.split(source, folder, member, split)

    return replace(family, open=opened, split=None if family.split is None else divided)


FAMILIES = {
    family.name: _read(family)
    for family in (
        Family(
            "rmd17",
            rmd17.MOLECULES,
            rmd17.open_rmd17,
            rmd17.SPLITS,
            lambda source, folder, member, split: rmd17.split_rmd17(source, folder, split),
        ),
        Family(
            "md22",
            md22.MOLECULES,
            md22.open_md22,
            md22.SPLITS,
            lambda source, folder, member, split: md22.split_md22(source, member, split),
        ),
        Family(
            "spice",
            spice.SUBSETS,
            spice.open_spice,
            spice.SPLITS,
            lambda source, folder, member, split: spice.split_spice(source, split),
        ),
        Family(
            "qm9",
            qm9.TARGETS,
            qm9.open_qm9,
            qm9.SPLITS,
            lambda source, folder, member, split: qm9.split_qm9(source, split),
        ),
        Family(
            "matbench",
            tuple(matbench.TASKS),
            matbench.open_matbench,
            matbench.SPLITS,
            matbench.split_matbench,
        ),
        Family(
            "qmof",
            (qmof.TARGET,),
            qmof.open_qmof,
            qmof.SPLITS,
            lambda source, folder, member, split: qmof.split_qmof(source, split),
        ),
        Family(
            "pdbbind",
            ("core",),
            pdbbind.open_pdbbind,
            pdbbind.SPLITS,
            lambda source, folder, member, split: pdbbind.split_pdbbind(source, split),
        ),
        Family("oc20", oc_lmdb.OC20_PARTS, oc_lmdb.open_oc20, (), None),
        Family("oc22", oc_lmdb.OC22_PARTS, oc_lmdb.open_oc22, (), None),
        Family("ani1x", ani1x.PARTS, ani1x.open_ani1x, (), None),
        Family("transition1x", transition1x.PARTS, transition1x.open_transition1x, (), None),
    )
}


def family(name: str) -> Family:
    """A data set by name; UsageError with the nearest names for an unknown one."""
    return FAMILIES[choose(name, tuple(FAMILIES), "data set")]
