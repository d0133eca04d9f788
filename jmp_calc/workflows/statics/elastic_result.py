"""What elastic constants came out as: tensors with clamped and with relaxed ions, files and figures."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import JMPWarning, NotConvergedError
from ...io.atomic import replacing
from ...units import GPA_PER_EV_A3
from ..common import output_path, write_frames
from .elastic_settings import ElasticSettings
from .tensor import VOIGT, ElasticTensor, turned

if TYPE_CHECKING:
    from ase import Atoms

TABLES = {"relaxed": "elastic_tensor.dat", "clamped": "elastic_tensor_clamped.dat"}
PLOTS = ("elastic.svg", "elastic.png", "young.svg", "young.png")
OUTPUTS = (*TABLES.values(), "strained.extxyz", *PLOTS)


@dataclass(frozen=True, eq=False, repr=False)
class ElasticResult:
    """Elastic constants of a crystal, in the Cartesian axes of the structure."""

    atoms: Atoms
    """The crystal that was strained: its positions relaxed, its cell as it was given; with its results."""
    clamped: ElasticTensor
    """Atoms follow the strain as the cell does."""
    relaxed: ElasticTensor | None
    """Atoms relax in the strained cell, what experiments measure; None: not asked for."""
    frames: tuple[Atoms, ...]
    """The strained cells of ``tensor`` with energy, forces, stress and, in ``info``, strain: those of each
    Voigt component, the most negative first."""
    space_group: str | None
    axes: np.ndarray
    """(3, 3) what turns the structure into spglib's standard axes (of a cubic crystal the cube's edges)."""
    n_rotations: int
    """Of the point group, by which the tensor was symmetrised."""
    stress_gpa: tuple[float, ...]
    """Of the unstrained cell, Voigt-6, ASE's sign."""
    fmax: float
    """Largest force in it, eV/Å."""
    settings: ElasticSettings

    def __repr__(self) -> str:
        hill = self.tensor.hill
        moduli = "unstable" if hill is None else f"bulk {hill.bulk_gpa:.4g}, shear {hill.shear_gpa:.4g} GPa"
        name = f"{self.atoms.get_chemical_formula()}, {self.space_group}"
        return f"<ElasticResult of {name}: {moduli} (Hill, {self.ions} ions)>"

    @property
    def tensor(self) -> ElasticTensor:
        """That with relaxed ions where it was asked for, else that with clamped ions."""
        return self.clamped if self.relaxed is None else self.relaxed

    @property
    def standard_gpa(self) -> np.ndarray:
        """(6, 6) constants of ``tensor`` in the standard axes of the crystal, for comparison with tables."""
        return turned(self.tensor.constants_gpa, self.axes)

    @property
    def ions(self) -> str:
        """Of which ``tensor`` is: relaxed or clamped."""
        return "clamped" if self.relaxed is None else "relaxed"

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml, units in the names."""
        return {
            "ions": self.ions,
            "relaxed_ions": None if self.relaxed is None else self.relaxed.to_dict(),
            "clamped_ions": self.clamped.to_dict(),
            "order": list(VOIGT),
            "constants_in_standard_axes_gpa": self.standard_gpa.tolist(),
            "rotation_to_standard_axes": np.asarray(self.axes).tolist(),
            "space_group": self.space_group,
            "n_rotations": self.n_rotations,
            "stress_gpa": self.stress_gpa,
            "fmax_ev_per_a": self.fmax,
            "n_strained": len(self.frames),
            "cell_lengths_angles": [float(x) for x in self.atoms.cell.cellpar()],
        }

    def require_stable(self) -> None:
        """Raise NotConvergedError that names the strain that costs nothing."""
        tensor = self.tensor
        if tensor.stable:
            return
        raise NotConvergedError(
            f"The crystal is not stable: a strain has the stiffness {tensor.eigenvalues_gpa[0]:.3g} GPa.",
            where=describe(tensor.softest_strain),
            hint="relax the cell (jmp-calc relax --opt-cell full) from a slightly strained start, or accept "
            "a real instability",
        )

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "", plot: bool = True) -> list[Path]:
        """Write the tensors, strained.extxyz and, if wanted, the figures; returns their paths."""
        found = []
        for ions, tensor in (("relaxed", self.relaxed), ("clamped", self.clamped)):
            if tensor is not None:
                path = output_path(folder, TABLES[ions], prefix)
                header = f"elastic constants with {ions} ions (GPa); rows and columns {' '.join(VOIGT)}"
                with replacing(path) as temporary:
                    np.savetxt(temporary, tensor.constants_gpa, fmt="%12.5f", header=header)
                found.append(path)
        found.append(output_path(folder, "strained.extxyz", prefix))
        write_frames(found[-1], self.frames)
        return found + (self.plot(folder, prefix=prefix) if plot else [])

    def plot(self, folder: str | os.PathLike[str], *, prefix: str = "") -> list[Path]:
        """Draw stress against strain, and Young's modulus against direction; without matplotlib a warning
        and nothing else."""
        from ...io import plots

        if not plots.available():
            text = "no figures: matplotlib is not installed (pip install jmp-calc[plot])"
            warnings.warn(text, JMPWarning, stacklevel=2)
            return []
        paths = [output_path(folder, name, prefix) for name in PLOTS]
        stresses = np.array([frame.get_stress() for frame in self.frames]) * GPA_PER_EV_A3
        plots.plot_stress_strain(
            self.settings.strains,
            stresses.reshape(6, self.settings.n_strains, 6),
            self.tensor.fitted_gpa,
            VOIGT,
            paths[:2],
        )
        turn = np.linspace(0, 2 * np.pi, 361)
        zero = np.zeros_like(turn)
        planes = {
            "xy": np.stack([np.cos(turn), np.sin(turn), zero], axis=1),
            "xz": np.stack([np.cos(turn), zero, np.sin(turn)], axis=1),
            "yz": np.stack([zero, np.cos(turn), np.sin(turn)], axis=1),
        }
        young = {plane: self.tensor.young_gpa(along) for plane, along in planes.items()}
        shown = {plane: values for plane, values in young.items() if values is not None}
        if shown:
            plots.plot_young(turn, shown, paths[2:])
        return [path for path in paths if path.is_file()]


def describe(strain: np.ndarray) -> str:
    """A strain (6,) in words, such as "strain 1 xx, -1 yy"."""
    parts = [f"{value:.2g} {name}" for value, name in zip(strain, VOIGT, strict=True) if abs(value) > 0.02]
    return "strain " + ", ".join(parts)
