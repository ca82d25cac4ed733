"""What differs between two builds, as the page and the command line show it."""
