"""How buildpacks are named, and pinned to what they are now."""
