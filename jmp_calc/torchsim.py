"""The TorchSim model under its first path; it lives in ``jmp_calc.engines.torchsim``."""

from .engines.torchsim import JMPModel

__all__ = ["JMPModel"]
