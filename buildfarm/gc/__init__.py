"""Garbage collection of the registry's storage."""
