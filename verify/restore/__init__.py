"""What of a farm survives when Redis is lost, or Redis or the registry comes back as it was an hour ago."""
