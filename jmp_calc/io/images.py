"""The structures of a file as ASE reads them, with what ASE leaves out of them: charges and multiplicities,
the keys of databases, the doubtful parts of CIF and PDB files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInputError
from .charges import given_state
from .cif import cif_images
from .molfile import molfile_images
from .pdb import pdb_images

if TYPE_CHECKING:
    from ase import Atoms
    from ase.db.row import AtomsRow


def images(source: Path, form: str) -> Iterator[Atoms]:
    """The structures of a file, unpacked, whose format ASE calls ``form``.

    Raises whatever ASE's parsers raise; BadStructureError, naming the frame, for disordered structures.
    """
    if form == "db":
        yield from _database(source)
        return
    state = given_state(source, form)
    for atoms in _structures(source, form):
        _keep_charge(atoms)
        for key, value in state.items():
            atoms.info.setdefault(key, value)
        yield atoms


def _structures(source: Path, form: str) -> Iterator[Atoms]:
    import ase.io

    if form == "cif":
        yield from cif_images(source)
    elif form == "proteindatabank":
        yield from pdb_images(source)
    elif form in ("mol", "sdf"):
        yield from molfile_images(source)
    else:
        yield from ase.io.iread(str(source), index=":", format=form, do_not_split_by_at_sign=True)


def _keep_charge(atoms: Atoms) -> None:
    """Charge and multiplicity of an input file (Gaussian), which ASE has in a calculator, into ``info``."""
    parameters: dict[str, Any] = getattr(atoms.calc, "parameters", None) or {}
    for key, name in (("charge", "charge"), ("mult", "multiplicity")):
        if parameters.get(key) is not None:
            atoms.info.setdefault(name, parameters[key])


def _database(path: Path) -> Iterator[Atoms]:
    """Rows of an ASE database, whose own keys ``ase.io`` drops; BadInputError for one that computes its
    rows: such a table may have no end."""
    import sqlite3
    from contextlib import closing

    from ase.db import connect

    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        (computed,) = connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE type IN ('view', 'trigger') "
            "OR sql LIKE '%CREATE VIRTUAL%' OR sql LIKE '%GENERATED%' OR sql LIKE '% AS (%'"
        ).fetchone()
    if computed:
        raise BadInputError(
            "The database has views or computed columns, which no ASE database has.",
            where=str(path),
            hint="write the structures to a new one",
        )
    yield from map(row_atoms, connect(path).select(sort="id"))


def row_atoms(row: AtomsRow) -> Atoms:
    """The structure of a row of a database, with the row's own keys and data in ``info``."""
    atoms = row.toatoms()
    atoms.info.update({**row.key_value_pairs, **row.data})
    return atoms
