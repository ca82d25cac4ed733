"""The archive: what a build in it costs, and how fast it is found."""
