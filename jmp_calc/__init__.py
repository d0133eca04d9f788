"""JMP interatomic potentials for ASE: ``atoms.calc = JMPCalculator("jmp-xs", head="pbe")``.

The public names are imported when they are first used, so that ``import jmp_calc`` loads neither torch nor
ASE. ``finetune`` and ``evaluate`` are the only ones that live in the training part.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .analysis.analyse import analyse
    from .calculator import JMPCalculator
    from .dispersion import with_dispersion
    from .inference.estimate import estimate
    from .inference.predict import predict, predict_classes, predict_vectors
    from .sampling.select import select
    from .screening.screen import screen
    from .training.evaluate import evaluate
    from .training.finetune import finetune
    from .workflows.battery.check import check
    from .workflows.md import md
    from .workflows.paths.neb import neb
    from .workflows.paths.ts import ts
    from .workflows.phonon.conductivity import conductivity
    from .workflows.phonon.phonons import phonons
    from .workflows.phonon.qha import qha
    from .workflows.phonon.sscha import sscha
    from .workflows.relax import relax
    from .workflows.relax_many import relax_many
    from .workflows.statics.adsorb import adsorb
    from .workflows.statics.elastic import elastic
    from .workflows.statics.energies import (
        adsorption_energy,
        atomisation_energy,
        formation_energy,
        surface_energy,
    )
    from .workflows.statics.eos import eos
    from .workflows.vibrations.vib import vib

__all__ = [
    "JMPCalculator",
    "__version__",
    "adsorb",
    "adsorption_energy",
    "analyse",
    "atomisation_energy",
    "check",
    "conductivity",
    "elastic",
    "eos",
    "estimate",
    "evaluate",
    "finetune",
    "formation_energy",
    "md",
    "neb",
    "phonons",
    "predict",
    "predict_classes",
    "predict_vectors",
    "qha",
    "relax",
    "relax_many",
    "screen",
    "select",
    "sscha",
    "surface_energy",
    "ts",
    "vib",
    "with_dispersion",
]

_HOME = {
    "JMPCalculator": "jmp_calc.calculator",
    "adsorb": "jmp_calc.workflows.statics.adsorb",
    "adsorption_energy": "jmp_calc.workflows.statics.energies",
    "analyse": "jmp_calc.analysis.analyse",
    "atomisation_energy": "jmp_calc.workflows.statics.energies",
    "check": "jmp_calc.workflows.battery.check",
    "conductivity": "jmp_calc.workflows.phonon.conductivity",
    "elastic": "jmp_calc.workflows.statics.elastic",
    "eos": "jmp_calc.workflows.statics.eos",
    "estimate": "jmp_calc.inference.estimate",
    "evaluate": "jmp_calc.training.evaluate",
    "finetune": "jmp_calc.training.finetune",
    "formation_energy": "jmp_calc.workflows.statics.energies",
    "md": "jmp_calc.workflows.md",
    "neb": "jmp_calc.workflows.paths.neb",
    "phonons": "jmp_calc.workflows.phonon.phonons",
    "predict": "jmp_calc.inference.predict",
    "predict_classes": "jmp_calc.inference.predict",
    "predict_vectors": "jmp_calc.inference.predict",
    "qha": "jmp_calc.workflows.phonon.qha",
    "relax": "jmp_calc.workflows.relax",
    "relax_many": "jmp_calc.workflows.relax_many",
    "screen": "jmp_calc.screening.screen",
    "select": "jmp_calc.sampling.select",
    "sscha": "jmp_calc.workflows.phonon.sscha",
    "surface_energy": "jmp_calc.workflows.statics.energies",
    "ts": "jmp_calc.workflows.paths.ts",
    "vib": "jmp_calc.workflows.vibrations.vib",
    "with_dispersion": "jmp_calc.dispersion",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use; AttributeError for anything else."""
    if name not in _HOME:
        raise AttributeError(f"module 'jmp_calc' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
