"""Builds of the farm's own images, from a recipe to a tested image in the registry."""
