"""One evaluation of a model: loaded once, then energy, forces, stress or features of structures."""
