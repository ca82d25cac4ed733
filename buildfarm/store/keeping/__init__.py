"""What the farm keeps in the registry: collections of its garbage, policies, limits, and what is in use."""
