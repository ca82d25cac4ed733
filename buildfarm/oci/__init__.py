"""Container images as data and over HTTP: digests, layers, configs, manifests and the registry that keeps them."""
