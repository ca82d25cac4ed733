"""The farm's claims on today's Docker engines."""
