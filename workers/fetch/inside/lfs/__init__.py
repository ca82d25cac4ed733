"""Git LFS in a fetching sandbox: pointers become their content, without a program of Git LFS (decision 047)."""
