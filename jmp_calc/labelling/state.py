"""Total charge and unpaired electrons of a structure, from what its file says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import BadStructureError
from ..unread import total_state
from .labels import CHARGE, UNPAIRED, TeacherFacts

if TYPE_CHECKING:
    from ase import Atoms


def asked(atoms: Atoms, facts: TeacherFacts) -> Atoms:
    """The structure as a teacher gets it: its charge and spin under our keys.

    Raises:
        BadStructureError: a charge or spin that is no number, or that this teacher does not read.
    """
    charge, unpaired = total_state(atoms.info, atoms.numbers)
    lowest = (int(atoms.numbers.sum()) - charge) % 2
    if not facts.takes_charge and (charge or unpaired not in (None, lowest)):
        state = f"charge {charge:+d}" if charge else f"{unpaired} unpaired electrons"
        raise BadStructureError(f"The structure has {state}, and {facts.method} has no input for that.")
    question = atoms.copy()
    question.info = {CHARGE: charge} | ({} if unpaired is None else {UNPAIRED: unpaired})
    question.set_constraint()
    return question
