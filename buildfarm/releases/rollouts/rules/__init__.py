"""The rules of rollouts, pure: waves, parameters, reports, the gate, and what comes next."""
