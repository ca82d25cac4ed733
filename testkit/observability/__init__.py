"""A browser and a Prometheus, and what they are asked."""
