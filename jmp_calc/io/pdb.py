"""Sites of PDB files that are shared: alternate locations and occupancies, which ASE reads as so many
atoms."""

from __future__ import annotations

from pathlib import Path

from ..errors import BadStructureError


def check_pdb_sites(source: Path, path: Path) -> None:
    """BadStructureError, naming frame and atom, for alternate locations of an atom and for partial
    occupancies; a frame whose occupancies are all zero has none."""
    frame, atom = 0, 0
    places: dict[str, str] = {}
    occupancies: list[tuple[int, float]] = []
    with source.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            if line.startswith(("ATOM", "HETATM")):
                name, place = line[12:16] + line[17:27], line[16:17]
                if places.setdefault(name, place) != place:
                    raise _shared(f"two places ({places[name]!r} and {place!r})", atom, frame, path)
                share = _number(line[54:60])
                if share is not None:
                    occupancies.append((atom, share))
                atom += 1
            elif line.startswith("END"):
                _check(occupancies, frame, path)
                frame, atom, places, occupancies = frame + 1, 0, {}, []
    _check(occupancies, frame, path)


def _check(occupancies: list[tuple[int, float]], frame: int, path: Path) -> None:
    if any(share != 0 for _, share in occupancies):
        for atom, share in occupancies:
            if abs(share - 1) > 1e-3:
                raise _shared(f"the occupancy {share:g}", atom, frame, path)


def _shared(what: str, atom: int, frame: int, path: Path) -> BadStructureError:
    return BadStructureError(
        f"Atom {atom} has {what}: a disordered structure cannot be computed as it is.",
        where=f"{path}, frame {frame}",
        hint="choose one place for every atom and give it the occupancy 1",
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
