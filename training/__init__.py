"""Training, installed as ``jmp_calc.training``."""
