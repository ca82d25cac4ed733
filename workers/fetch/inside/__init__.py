"""Programs that run in a fetching sandbox, by the builder's Python alone; each is one file that the node sends."""
