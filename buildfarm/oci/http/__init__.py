"""What a registry asks of its clients over HTTP: credentials, and to go elsewhere for blobs."""
