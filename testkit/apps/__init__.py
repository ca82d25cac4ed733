"""The apps of tests/apps: what is expected of each, and how it is tried."""
