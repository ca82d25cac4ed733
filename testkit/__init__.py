"""Nodes, services, browsers and validators for tests, benches and the verified claims."""
