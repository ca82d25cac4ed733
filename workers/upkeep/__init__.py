"""What a node does beside its builds: heartbeat, sweeping, cleaning, pre-warming, draining."""
