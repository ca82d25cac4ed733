"""Rollouts: the apps of a channel move to a new base in waves that stop when apps become unhealthy."""
