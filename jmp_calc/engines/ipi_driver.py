"""The file that i-PI is pointed at: ``<pes_path>`` of ``<ffdirect>``, or ``i-pi-py_driver -m custom -P``.

i-PI runs it by its path, so that it belongs to no package; the driver itself is ``jmp_calc.engines.ipi``. It
has another name because i-PI files it under its own: a module ``ipi`` would take the place of i-PI.
"""

from __future__ import annotations

from importlib import import_module

__DRIVER_NAME__ = "jmp"
__DRIVER_CLASS__ = "JMPDriver"

JMPDriver = import_module("jmp_calc.engines.ipi").JMPDriver
