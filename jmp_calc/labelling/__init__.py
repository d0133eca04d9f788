"""Labels of structures from any teacher: an ASE calculator, a semi-empirical method, a network, DFT."""
