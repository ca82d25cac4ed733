"""A second build node on this machine: namespaces, an engine with a data root of its own, and a worker of its own.

It needs root, and shares nothing with the first node but Redis and the registry, which it reaches by their addresses
in the farm's network. Everything it makes is gone at the end, however that comes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from buildfarm.farm import Farm

NODE_ID = "second"
NAMESPACE = "buildfarm2"
SUBNET = "10.173.2"
CGROUP = "/buildfarm2"
READY_SECONDS = 180
PROGRAMS = {"ip": "iproute2", "iptables": "iptables", "nsenter": "util-linux", "dockerd": "docker.io"}


@dataclass(frozen=True)
class SecondEngine:
    """The second node: its worker's name, its engine, and the registry as both reach it."""

    id: str
    docker_url: str
    registry: str

    def pull(self, image: str) -> int:
        """Pulls an image of the farm's registry, however it is written; returns how many layers moved."""
        reference = f"{self.registry}/{image.partition('/')[2]}"
        ask = ["docker", "--host", self.docker_url, "pull", reference]
        return subprocess.run(ask, check=True, capture_output=True, text=True).stdout.count("Pull complete")


@contextmanager
def second_engine(farm: Farm, **variables: str) -> Iterator[SecondEngine]:
    """A second node that takes builds, for the length of the block."""
    with ExitStack() as undo:
        root = Path(tempfile.mkdtemp(prefix="buildfarm2.", dir="/var/tmp"))
        undo.callback(shutil.rmtree, root, ignore_errors=True)
        _network(undo)
        plug = _engine(root, undo)
        redis_address, registry_address = _address("redis", 6379), _address("registry", 5000)
        redis_url = urlsplit(farm.settings.redis_url.get_secret_value())
        environment = {
            **os.environ,
            "BUILDFARM_NODE_ID": NODE_ID,
            "BUILDFARM_NAMESPACE": farm.settings.namespace,
            "BUILDFARM_REDIS_URL": urlunsplit(redis_url._replace(netloc=f":{redis_url.password}@{redis_address}")),
            "BUILDFARM_REGISTRY_URL": f"http://{registry_address}",
            "BUILDFARM_BUILDER": farm.builder(),
            "BUILDFARM_DOCKER_URL": f"unix://{root}/run/docker.sock",
            "BUILDFARM_WORKSPACE_DIRECTORY": f"{root}/workspaces",
            "BUILDFARM_CACHE_DIRECTORY": f"{root}/caches",
            "BUILDFARM_LOG_FORMAT": "json",
            **variables,
        }
        log = root / "worker.log"
        with log.open("wb") as output:
            inside = ["nsenter", f"--target={_init(plug)}", "--mount", "--net", "--pid", "--"]
            worker = subprocess.Popen(
                [*inside, sys.executable, "-m", "workers"], env=environment, stdout=output, stderr=output
            )
        undo.callback(_end, worker)

        def accepting() -> bool:
            if worker.poll() is not None:
                raise RuntimeError(f"the second node ended:\n{log.read_text()[-2000:]}")
            return any(node.id == NODE_ID and node.accepting for node in farm.nodes())

        _wait(accepting, "the second node does not take builds")
        yield SecondEngine(NODE_ID, f"unix://{root}/run/docker.sock", registry_address)


def _network(undo: ExitStack) -> None:
    """A network namespace with a way to this machine and out of it."""
    _run("ip", "netns", "add", NAMESPACE)
    undo.callback(_run, "ip", "netns", "del", NAMESPACE)
    _run("ip", "link", "add", "bfarm2", "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE)
    _run("ip", "addr", "add", f"{SUBNET}.1/24", "dev", "bfarm2")
    _run("ip", "link", "set", "bfarm2", "up")
    for command in (
        ("link", "set", "lo", "up"),
        ("addr", "add", f"{SUBNET}.2/24", "dev", "eth0"),
        ("link", "set", "eth0", "up"),
        ("route", "add", "default", "via", f"{SUBNET}.1"),
    ):
        _run("ip", "-n", NAMESPACE, *command)
    for table, chain, rule in (
        ("nat", "POSTROUTING", ("-s", f"{SUBNET}.0/24", "-j", "MASQUERADE")),
        # Before the engine's own rules: what an address of the farm's network publishes may be reached.
        ("filter", "FORWARD", ("-i", "bfarm2", "-j", "ACCEPT")),
        ("filter", "FORWARD", ("-o", "bfarm2", "-j", "ACCEPT")),
    ):
        _run("iptables", "-t", table, "-I", chain, "1", *rule)
        undo.callback(_run, "iptables", "-t", table, "-D", chain, *rule)


def _engine(root: Path, undo: ExitStack) -> subprocess.Popen[bytes]:
    """An engine in namespaces of its own; ending the process ends everything in them."""
    for folder in ("data", "exec", "run"):
        (root / folder).mkdir()
    socket = f"unix://{root}/run/docker.sock"
    command = [
        "nsenter",
        # not `ip netns exec`, which hides the cgroup mounts
        f"--net=/run/netns/{NAMESPACE}",
        "unshare",
        *("--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *("sh", "-c", 'mount -t tmpfs node /run; exec docker-init -- dockerd "$@"', "sh"),
        f"--data-root={root}/data",
        f"--exec-root={root}/exec",
        f"--pidfile={root}/run/dockerd.pid",
        f"--host={socket}",
        f"--cgroup-parent={CGROUP}",
        "--bip=172.30.2.1/24",
        "--insecure-registry=172.16.0.0/12",
        "--insecure-registry=192.168.0.0/16",
        "--log-level=warn",
    ]
    log = root / "dockerd.log"
    with log.open("wb") as output:
        plug = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    undo.callback(_end_engine, plug, root)
    ask = ["docker", "--host", socket, "version"]
    _wait(
        lambda: subprocess.run(ask, capture_output=True, check=False).returncode == 0,
        "the second engine does not answer",
    )
    return plug


def _end_engine(plug: subprocess.Popen[bytes], root: Path) -> None:
    plug.kill()
    plug.wait()
    _wait(lambda: not _uses(root), "processes of the second engine are left")
    for controller in Path("/sys/fs/cgroup").iterdir():
        own = controller / CGROUP.strip("/")
        for folder in sorted(own.rglob("*"), reverse=True) if own.is_dir() else ():
            if folder.is_dir():
                folder.rmdir()
        if own.is_dir():
            own.rmdir()


def _uses(root: Path) -> bool:
    return any(str(root).encode() in line for line in _command_lines())


def _command_lines() -> Iterator[bytes]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            yield (process / "cmdline").read_bytes()
        except OSError:
            continue


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.send_signal(signal.SIGTERM)
    try:
        worker.wait(30)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def _init(plug: subprocess.Popen[bytes]) -> str:
    children = Path(f"/proc/{plug.pid}/task/{plug.pid}/children")
    _wait(lambda: bool(children.read_text().split()), "the second engine has no init")
    return children.read_text().split()[0]


def _address(role: str, port: int) -> str:
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    ask = ["docker", "inspect", "--format", form, f"buildfarm-{role}"]
    return f"{subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()}:{port}"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _wait(check: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not check():
        if time.monotonic() > deadline:
            raise RuntimeError(otherwise)
        time.sleep(0.1)
