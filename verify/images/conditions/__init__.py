"""The database images under the conditions that people run them in."""
