"""Where untrusted code runs: containers, their limits, their file systems and their network."""
