"""Recipes of the farm's own images: their parts, their plans, and the folders they are read from."""
