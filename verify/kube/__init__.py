"""A real Kubernetes 1.20 on simulated machines, and the farm in it."""
