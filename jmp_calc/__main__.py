"""``python -m jmp_calc``: the same as ``jmp-calc``."""

from .cli.main import main

main()
