"""How the labels of the 41 published tasks were calculated, as far as the papers of the data sets say it.

rMD17: Christensen, von Lilienfeld, Mach. Learn.: Sci. Technol. 1, 045018 (2020). MD22: Chmiela et al.,
Sci. Adv. 9, eadf0873 (2023). SPICE: Eastman et al., Sci. Data 10, 11 (2023). QM9: Ramakrishnan et al., Sci.
Data 1, 140022 (2014). MatBench: Dunn et al., npj Comput. Mater. 6, 138 (2020), which names the source of each
table. QMOF: Rosen et al., Matter 4, 1578 (2021). PDBBind has measured affinities, and no level of theory.
"""

from __future__ import annotations

from jmp_calc.model.config import Theory

_PLANE_WAVES = "plane waves, PAW"
_MATERIALS_PROJECT = Theory("PBE", _PLANE_WAVES, "none", "collinear", "Materials Project")
_OF_DATASET = {
    "rmd17": Theory("PBE", "def2-SVP", "none"),
    "md22": Theory("PBE", "numeric atomic orbitals", "MBD"),
    "spice": Theory("wB97M", "def2-TZVPPD", "D3(BJ)"),
    "qm9": Theory("B3LYP", "6-31G(2df,p)", "none"),
    "qmof": Theory("PBE", _PLANE_WAVES, "D3(BJ)"),
}
_OF_MATBENCH = {
    "jdft2d": Theory("optB88-vdW", _PLANE_WAVES, "non-local"),
    "phonons": Theory("PBEsol", "plane waves", "none"),
    "dielectric": _MATERIALS_PROJECT,
    "log_gvrh": _MATERIALS_PROJECT,
    "log_kvrh": _MATERIALS_PROJECT,
    "perovskites": Theory("RPBE", _PLANE_WAVES, "none"),
    "mp_gap": _MATERIALS_PROJECT,
    "mp_e_form": _MATERIALS_PROJECT,
}


def recipe_theory(dataset: str, member: str) -> Theory:
    """The level of theory of a data set, or of one task of MatBench; without fields where there is none, or
    none is known."""
    known = _OF_MATBENCH if dataset == "matbench" else _OF_DATASET
    return known.get(member if dataset == "matbench" else dataset, Theory())
