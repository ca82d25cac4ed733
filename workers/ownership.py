"""Whose a container, a workspace or an image is: names and labels that the janitor reads."""

from __future__ import annotations

LABEL_ATTEMPT = "buildfarm.attempt"
LABEL_NODE = "buildfarm.node"
SMOKE_IMAGES = "buildfarm/smoke"  # images under test; the tag says whose they are, for their config may not


def smoke_image(node_id: str, attempt: str) -> str:
    """What an image under test is called on the engine of this node."""
    return f"{SMOKE_IMAGES}:{node_id}.{attempt}"


def attempt_name(build_id: str, attempt: int) -> str:
    """Name of an attempt's sandbox and workspace; its build may have a later attempt on the same node."""
    return f"buildfarm-{build_id}-{attempt}"
