"""Cloud Native Buildpacks inside the sandbox: detect, build and launch (buildpacks/spec, buildpack.md and platform.md).

Runs with the builder's own Python and its standard library. It decides nothing that concerns the farm: the node reads
what it prints, as it reads everything that comes from a sandbox.
"""
