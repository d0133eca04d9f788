"""Our models behind the interfaces of simulation engines other than ASE."""
