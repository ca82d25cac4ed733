"""Campaigns: apps that have a component in their own layers are rebuilt from their last source, in waves."""
