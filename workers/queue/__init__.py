"""How messages reach the node: the consumer, its gate, and builds submitted as messages."""
