"""Parts of a registry's files, moved aside and back."""
