"""Containers of apps on a Docker engine. What they are is in their labels: there is no other record."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import docker

from examples.orchestrator.decisions import Container

OWNER, APP, IMAGE = "orchestrator", "orchestrator.app", "orchestrator.image"
PORT = "8080/tcp"  # where the farm's images listen
STOP_SECONDS = 10  # between SIGTERM and SIGKILL
_OPTIONS: dict[str, Any] = {
    "restart_policy": {"Name": "unless-stopped"}, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"],
    "mem_limit": "512m", "pids_limit": 256,
}  # fmt: skip


@dataclass(frozen=True)
class Containers:
    """Those of one orchestrator. Every method raises docker.errors.DockerException."""

    engine: docker.DockerClient
    owner: str  # the orchestrator's name: several can share an engine
    registry: str  # the farm's, as the engine reaches it

    def all(self, app: str = "") -> list[Container]:
        """Those of one app, or of all; running or not."""
        labels: dict[str, Any] = {"label": [f"{OWNER}={self.owner}", *([f"{APP}={app}"] if app else [])]}
        return [_shown(one) for one in self.engine.containers.list(all=True, filters=labels, ignore_removed=True)]

    def start(self, app: str, image: str, again: Container | None = None) -> Container:
        """Starts a container of this image on a free port, beside the others of the app; or one that has ended."""
        if again is not None:
            started = self.engine.containers.get(again.id)
            started.start()
        else:
            self.engine.images.pull(f"{self.registry}/apps/{app}", tag=image)
            started = self.engine.containers.run(
                f"{self.registry}/apps/{app}@{image}", detach=True, init=True,
                labels={OWNER: self.owner, APP: app, IMAGE: image}, ports={PORT: ("127.0.0.1", 0)}, **_OPTIONS,
            )  # fmt: skip
        started.reload()
        return _shown(started)

    def end(self, container: Container, *, remove: bool) -> None:
        """Ends its processes; if it is not removed, people can read its log."""
        found = self.engine.containers.get(container.id)
        found.stop(timeout=STOP_SECONDS)
        if remove:
            found.remove()

    def last_lines(self, container: Container) -> str:
        """The end of its log."""
        return self.engine.containers.get(container.id).logs(tail=10).decode(errors="replace")[-800:]


def _shown(container: Any) -> Container:
    state, labels = container.attrs["State"], container.labels
    ports = (container.attrs["NetworkSettings"]["Ports"] or {}).get(PORT)
    address = f"127.0.0.1:{ports[0]['HostPort']}" if state["Running"] and ports else ""
    times = (_seconds(state[name]) for name in ("StartedAt", "FinishedAt"))
    return Container(container.id, labels[APP], labels[IMAGE], address, *times)


def _seconds(text: str) -> float:
    """The engine writes nine digits behind the point, and the year 1 for "never"."""
    return max(0.0, datetime.fromisoformat(f"{text[:19]}+00:00").timestamp())
