"""What this machine lacks for a farm, found without changing anything."""
