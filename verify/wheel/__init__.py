"""The wheel by itself, and what its commands cost."""
