"""Network namespaces that sandboxes get one after the other, as long as nothing was sent in them."""
