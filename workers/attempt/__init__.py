"""One attempt at a build: its phases, its log, its lease, and which attempts run on this node."""
