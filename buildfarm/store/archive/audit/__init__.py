"""The audit log in the registry: whole days of entries, each an artifact."""
