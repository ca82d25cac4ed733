"""Several build nodes on one machine, each with namespaces, an address, an engine and a worker of its own."""
