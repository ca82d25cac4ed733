"""Served by an inline buildpack that copies 400 MB of its cache into the app."""
