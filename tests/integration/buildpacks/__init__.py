"""The conformance suite of both buildpack contracts, and what the builder and the examples promise."""
