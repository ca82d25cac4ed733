"""What is claimed of moving a fleet to another base: the rules of rollouts, real apps, and what a move costs."""
