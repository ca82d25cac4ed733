"""`make demo-fleet`: ten apps that an orchestrator runs get a patched base, in waves, with a bad app among them."""
