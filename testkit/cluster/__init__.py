"""Several build nodes on one machine, each with namespaces, an address, an engine and its own worker."""
