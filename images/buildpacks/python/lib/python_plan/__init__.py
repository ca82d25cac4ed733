"""What the Python buildpack will do with an app, and why: files in, one JSON object out."""
