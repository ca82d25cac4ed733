"""Sources of apps: how they are addressed, and how directories are packed."""
