"""Pushes that forges report: taken at the door, submitted one after another, and reported back as commit statuses."""
