"""The farm's web page."""
