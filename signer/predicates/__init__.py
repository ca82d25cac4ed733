"""What the signer states about images that it signs: SLSA provenance out of the records. Pure."""
