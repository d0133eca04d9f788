"""What a pre-training adds to the common loop: recipes, mixture of sets, publishing."""
