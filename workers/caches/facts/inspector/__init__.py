"""What runs in a sandbox and reads a layer. It imports the standard library and pyelftools alone."""
