"""The promises of the farm's own images."""
