"""Channels: named bases that apps follow, each with a history of where it was and who moved it."""
