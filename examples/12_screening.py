"""Screen many structures: relax ordered alloys with their cells, keep failures, go on after a kill.

python examples/12_screening.py
"""

from ase.build import bulk
from ase.calculators.emt import EMT

from jmp_calc import screen
from jmp_calc.workflows.relax_settings import RelaxSettings

if __name__ == "__main__":  # processes import this file again
    structures = []
    for a in ("Cu", "Ag", "Au", "Pd"):
        for b in ("Cu", "Ag", "Au", "Pd"):
            cell = bulk(a, cubic=True)
            cell.symbols[2:] = b  # AB with the structure of CuAu
            structures.append(cell)
    structures.append(bulk("Fe"))  # EMT does not know iron: one failure, told and kept

    found = screen(structures, calc=EMT, task="relax", settings=RelaxSettings(cell="full"), out="campaign")
    print(found)
    done = [row for row in found.rows if row.outcome.status == "ok"]
    print(f"with a result {len(done)} (expect 16 to 16)")
    lowest = min(done, key=lambda row: row.outcome.values["energy_ev"])
    print(f"lowest energy: {lowest.outcome.values['energy_ev']:.2f} eV")
    again = screen(
        structures, calc=EMT, task="relax", settings=RelaxSettings(cell="full"), out="campaign", resume=True
    )
    print(f"computed again {again.n_computed} (expect 0 to 1)")
    print(
        "a row for each: campaign/screen.csv, campaign/screen.db; with jmp-xs: calc=JMPCalculator('jmp-xs')"
    )
