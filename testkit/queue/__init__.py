"""Farms with simulated nodes."""
