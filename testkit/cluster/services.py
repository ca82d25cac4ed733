"""A Redis and a registry for faults alone, from the farm's own images: they can be killed without harm."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from testkit.cluster.shell import children, run, send

LABEL = "buildfarm.faults"
NETWORK = "buildfarm-faults"
SUBNET = "10.173.9.0/24"
REDIS_ADDRESS, REDIS_PORT = "10.173.9.2", 6379
REGISTRY_ADDRESS, REGISTRY_PORT = "10.173.9.3", 5000
PASSWORD = "of-no-use-elsewhere"


def redis_url(address: str = REDIS_ADDRESS, port: int = REDIS_PORT) -> str:
    """As nodes and tests reach it."""
    return f"redis://:{PASSWORD}@{address}:{port}/0"


def registry_url() -> str:
    """As nodes and tests reach it."""
    return f"http://{REGISTRY_ADDRESS}:{REGISTRY_PORT}"


def start(root: Path) -> None:
    """Both, empty Redis, and a registry over the content of the farm's own: it holds the builder."""
    password = root / "redis-password"
    password.write_text(PASSWORD)
    password.chmod(0o444)
    run("docker", "network", "create", f"--subnet={SUBNET}", f"--label={LABEL}", NETWORK)
    _start(
        "redis",
        REDIS_ADDRESS,
        f"--volume={password}:/run/secrets/redis-password:ro",
        "--env=REDIS_PASSWORD_FILE=/run/secrets/redis-password",
        "--volume=/data",
    )
    _start("registry", REGISTRY_ADDRESS, "--volume=buildfarm-registry:/var/lib/registry")


class Service:
    """One of the two."""

    def __init__(self, role: str) -> None:
        self.name = f"buildfarm-faults-{role}"

    def kill(self) -> None:
        """kill -9."""
        run("docker", "kill", "--signal=KILL", self.name)

    def freeze(self, *, on: bool) -> None:
        """Stops its processes, which keep their connections, or lets them go on."""
        pid = int(run("docker", "inspect", "--format={{.State.Pid}}", self.name))
        for child in children(pid):
            send(child, signal.SIGSTOP if on else signal.SIGCONT)

    def start(self) -> None:
        """Starts it again, over what it had."""
        run("docker", "start", self.name)


def clear_away(root: Path) -> None:
    """Whatever is left of them."""
    (root / "redis-password").unlink(missing_ok=True)
    if subprocess.run(["docker", "version"], capture_output=True, check=False).returncode != 0:
        return
    for container in run("docker", "ps", "--all", "--quiet", f"--filter=label={LABEL}").split():
        run("docker", "rm", "--force", "--volumes", container, check=False)
    for network in run("docker", "network", "ls", "--quiet", f"--filter=label={LABEL}").split():
        run("docker", "network", "rm", network, check=False)


def _start(role: str, address: str, *options: str) -> None:
    image = run("docker", "inspect", "--format={{.Image}}", f"buildfarm-{role}").strip()
    name = Service(role).name
    run(
        "docker", "run", "--detach", "--init", f"--name={name}", f"--label={LABEL}", f"--network={NETWORK}",
        f"--ip={address}", *options, image,
    )  # fmt: skip
