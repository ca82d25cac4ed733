"""One build node: pulls builds from the queue, runs them in a sandbox, exports the images."""
