"""Properties of crystals, surfaces and molecules at rest: equations of state, elastic constants, energies."""
