"""What clients follow: feeds from Redis, sent as server-sent events."""
