"""The non-analytical term: Born charges from a BORN file, and which crystals need them."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BadInputError, JMPWarning, UsageError

NO_LO_TO = (
    "the non-analytical term is absent: no LO-TO splitting at G, which insulating polar crystals have "
    "(--born FILE with Born charges from elsewhere adds it)"
)
NO_CHARGES = "not needed: by symmetry no atom has a Born charge"
NOT_IN_LAYERS = "not needed: layers and wires have no LO-TO splitting at G"
LEFT_OVER_E = 0.02
"""Born charges may miss their sum rule by this much per atom, e."""


def set_born(phonon: Any, path: str, periodic: np.ndarray) -> None:
    """Give phonopy the Born charges and the dielectric tensor of a file.

    Args:
        phonon: as ``glue.displaced`` gives it.
        path: file in phonopy's BORN format.
        periodic: (3,) bool, see ``cell.repeating``.

    Raises:
        UsageError: a layer or wire, of which phonopy's term is not.
        BadInputError: a file that is none or of another crystal.
    """
    if not periodic.all():
        raise UsageError(
            "Born charges split LO from TO at G in crystals only; this is a layer or wire.",
            where=path,
            hint="leave --born out",
        )
    found = _parsed(phonon, path)
    total = np.abs(found["born"].sum(axis=0)).max() / len(found["born"])
    if total > LEFT_OVER_E:
        text = (
            f"the Born charges of {path} do not add up to zero: {total:.2g} e per atom are left, and the "
            "acoustic bands bend near G"
        )
        warnings.warn(text, JMPWarning, stacklevel=4)
    phonon.nac_params = found


def _parsed(phonon: Any, path: str) -> dict[str, Any]:
    """Dielectric tensor and Born charges (n, 3, 3) of all atoms of the primitive cell."""
    from phonopy.exception import BORNFileParseError
    from phonopy.file_IO import get_born_parameters
    from phonopy.physical_units import get_physical_units

    independent = [int(i) + 1 for i in phonon.primitive_symmetry.get_independent_atoms()]
    hint = (
        "line 1 a comment or a factor, line 2 the dielectric tensor, then the Born charges, nine numbers a "
        f"line, of atoms {' '.join(map(str, independent))} of the primitive cell "
        f"({' '.join(phonon.primitive.symbols)})"
    )
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        reason = getattr(err, "strerror", None) or "it is no text"
        raise BadInputError(f"The BORN file cannot be read: {reason}.", where=path) from err
    try:
        found = dict(get_born_parameters(io.StringIO(text), phonon.primitive, phonon.primitive_symmetry))
    except (BORNFileParseError, ValueError) as err:
        reason = str(err).rstrip(".")
        raise BadInputError(
            f"This is no BORN file of this crystal: {reason}.", where=path, hint=hint
        ) from err
    dielectric = np.asarray(found["dielectric"])
    if not np.isfinite(np.concatenate([dielectric.ravel(), np.ravel(found["born"])])).all():
        raise BadInputError("The BORN file has numbers that are not finite.", where=path, hint=hint)
    if np.linalg.eigvalsh(0.5 * (dielectric + dielectric.T)).min() < 1.0:
        raise BadInputError(
            "The dielectric tensor of the BORN file has a direction below 1, that of vacuum.",
            where=path,
            hint=hint,
        )
    units = get_physical_units()
    found.setdefault("factor", units.Hartree * units.Bohr)  # to the last digit what phonopy's commands take
    return found


def non_analytical(phonon: Any, periodic: np.ndarray, born: str | None) -> str:
    """What became of the term, in words; NO_LO_TO where it is missed."""
    if born is not None:
        return f"included, with the Born charges of {born}"
    if not periodic.all():
        return NOT_IN_LAYERS
    return NO_LO_TO if _may_be_polar(phonon) else NO_CHARGES


def _may_be_polar(phonon: Any) -> bool:
    """Whether the symmetry leaves any Born charges that add up to zero: those of silicon vanish, those of
    salt or trigonal selenium do not."""
    from phonopy.structure.symmetry import symmetrize_borns_and_epsilon

    trial = np.random.default_rng(0).standard_normal((len(phonon.primitive), 3, 3))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Symmetry of Born effective charge is largely broken")
        kept, _ = symmetrize_borns_and_epsilon(
            trial, np.eye(3), phonon.primitive, symprec=phonon.primitive_symmetry.tolerance
        )
    return bool(np.abs(kept).max() > 1e-6)
