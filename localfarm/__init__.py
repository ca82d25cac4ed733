"""The whole farm on one machine: engine, Redis, registry, builder image and one build node."""
