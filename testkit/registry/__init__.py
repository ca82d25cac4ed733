"""A registry in this process, what real ones hold, and the rules of the image format."""
