"""Vibrations of molecules, adsorbates and cells: Hessian, normal modes, thermochemistry."""
