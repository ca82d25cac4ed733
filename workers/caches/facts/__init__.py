"""Reads layers in a sandbox for what their files need and bring."""
