"""Quantities as people read them."""

from __future__ import annotations


def size(count_bytes: float) -> str:
    """A number of bytes, such as 1.5 MB."""
    value = float(count_bytes)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
