"""Signatures of images: their formats, the keys, and how they come into a registry and out of it."""
