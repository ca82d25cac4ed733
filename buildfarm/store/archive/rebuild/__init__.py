"""The list of packs, made anew from what the registry has."""
