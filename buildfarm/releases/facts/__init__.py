"""What an app's files need of the base below them, and whether another base has it."""
