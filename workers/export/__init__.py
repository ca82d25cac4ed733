"""From an app's built files to layers in the registry."""
