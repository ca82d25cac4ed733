"""Keeps this pod's deletion-cost annotation current, so that scale-in removes idle nodes first."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx

from buildfarm.errors import NodeError

ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
CREDENTIALS = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # where Kubernetes puts them in any pod

_CALL_SECONDS = 5.0


def deletion_cost(builds: int) -> int:
    """Of a Deployment's pods Kubernetes deletes the cheapest first: an idle one, then one with few builds."""
    return 10 + builds if builds else 0


class Pod:
    """A pod as the API of Kubernetes at ``url`` knows it, by its name in the namespace of its own credentials."""

    def __init__(self, url: str, name: str, credentials: Path = CREDENTIALS) -> None:
        self._url = url
        self._name = name
        self._credentials = credentials
        self._told: int | None = None

    def tell_cost(self, builds: int) -> None:
        """Says what it would cost now, if that is not what was said last. Raises NodeError."""
        cost = deletion_cost(builds)
        if cost == self._told:
            return
        try:
            self._patch({"metadata": {"annotations": {ANNOTATION: str(cost)}}})
        except (OSError, httpx.HTTPError) as error:
            raise NodeError(f"The pod's deletion cost cannot be set: {error}") from error
        self._told = cost

    def _patch(self, change: dict[str, object]) -> None:
        # Read each time: the token is replaced within the hour.
        token = (self._credentials / "token").read_text()
        namespace = (self._credentials / "namespace").read_text()
        # Its status only: the right to change that does not include changing what a pod runs.
        path = f"/api/v1/namespaces/{namespace}/pods/{self._name}/status"
        answer = httpx.patch(
            f"{self._url}{path}",
            json=change,
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"},
            verify=ssl.create_default_context(cafile=str(self._credentials / "ca.crt")),
            timeout=_CALL_SECONDS,
            trust_env=False,
        )
        answer.raise_for_status()
