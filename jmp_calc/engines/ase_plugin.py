"""What ASE 3.29 finds by the entry point ``ase.plugins``, and ``ase info --plugins`` lists.

The registry is private to ASE (``ase._4``) and may change: where it has, ASE lists nothing of ours, and all
else works. The calculator is named as text, so that listing it loads no torch.
"""

from __future__ import annotations

from typing import Any

CITATION = (
    "N. Shoghi et al., From Molecules to Materials: Pre-training Large Generalizable Models for Atomic "
    "Property Prediction, ICLR 2024; J. Gasteiger et al., GemNet-OC, TMLR 2022"
)


def _plugins() -> set[Any]:
    try:
        from ase._4.plugins.plugin import CalculatorPlugin

        ours = CalculatorPlugin("jmp", citation=CITATION, implementation="jmp_calc.calculator.JMPCalculator")
    except (ImportError, TypeError):  # what is private may be elsewhere, or want other arguments, one day
        return set()
    return {ours}


__ase_plugins__ = _plugins()
