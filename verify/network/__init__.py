"""What stands around a farm: proxies in front of it, an unsteady Redis, clocks that jump, and IPv6."""
