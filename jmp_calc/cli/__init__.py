"""Command line of jmp-calc: one file per command, no physics; click is imported only here."""
