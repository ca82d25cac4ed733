"""Finds the components in a layer's files: a module for each ecosystem, and the table of what each reads."""
