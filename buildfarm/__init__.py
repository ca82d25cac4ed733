"""The build farm's library: submit builds, follow them, and read what came of them."""
