"""The queue's promises about Sentinel and sizing."""
