"""A node of the cluster: a simulated machine whose engine a kubelet drives, with kube-proxy beside it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from testkit.cluster.cluster import Cluster
from testkit.cluster.machine import Machine
from testkit.cluster.network import PREFIX, address_of, namespace_of
from testkit.cluster.shell import run

_CGROUPS = Path("/sys/fs/cgroup")
_CAP_SYS_RESOURCE = 24
_LOAD_SECONDS = 300
_PAUSE = "pause:1"
# What holds a pod's network namespace; it ends when it is asked to.
_PAUSE_FILE = """FROM {base}
ENTRYPOINT ["sh", "-c", "trap 'exit 0' TERM; sleep infinity & wait"]
"""


class Node:
    """A machine of the cluster's, which Kubernetes knows by the machine's name."""

    def __init__(self, machine: Machine, programs: Path, config: Path) -> None:
        self.machine = machine
        self.name = machine.id
        self._programs = programs
        self._config = config

    def load(self, archive: Path, base: str) -> None:
        """Puts images on its engine; ``base`` is one of them that has a shell."""
        self.machine.docker("load", "--input", str(archive), seconds=_LOAD_SECONDS)
        command = ["docker", "--host", self.machine.docker_url, "build", "--quiet", f"--tag={_PAUSE}", "-"]
        subprocess.run(command, input=_PAUSE_FILE.format(base=base), text=True, check=True, capture_output=True)

    def join(self) -> None:
        """Starts its kubelet and its kube-proxy, also after a boot."""
        root, group = self.machine.root, f"/{PREFIX}{self.machine.id}"
        _make_group(group)
        self.machine.start(
            "kubelet",
            self._programs / "kubelet",
            f"--kubeconfig={self._config}",
            f"--hostname-override={self.name}",
            f"--node-ip={address_of(self.machine.number)}",
            "--container-runtime=docker",
            f"--docker-endpoint={self.machine.docker_url}",
            f"--root-dir={self.machine.disk}/kubelet",
            f"--cert-dir={root}/kubelet",
            f"--cgroup-root={group}",
            "--cgroup-driver=cgroupfs",
            "--enforce-node-allocatable=",
            "--eviction-hard=",
            "--fail-swap-on=false",
            "--network-plugin=",
            f"--pod-infra-container-image={_PAUSE}",
            "--read-only-port=0",
            "--healthz-port=0",
            "--authorization-mode=AlwaysAllow",
            "--image-gc-high-threshold=100",
        )
        self.machine.start(
            "kube-proxy",
            self._programs / "kube-proxy",
            f"--kubeconfig={self._config}",
            f"--hostname-override={self.name}",
            "--proxy-mode=iptables",
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
            "--metrics-bind-address=127.0.0.1:10249",
        )


def add_node(cluster: Cluster, programs: Path, config: Path) -> Node:
    """Another machine, its engine running."""
    options = (
        []
        if _may_raise_limits()
        else [f"--add-runtime=farm={Path(__file__).with_name('runc')}", "--default-runtime=farm"]
    )
    return Node(cluster.add(private=["/var/lib", "/var/log"], engine_options=options), programs, config)


def connect_pods(nodes: Sequence[Node]) -> None:
    """Instead of a network plug-in: each node knows where the others' pods are, and lets what is for its own pass."""
    for node in nodes:
        run(*node.machine.inside(), "iptables", "-w", "-I", "DOCKER-USER", "-j", "ACCEPT")
        for other in nodes:
            if other is not node:
                number = other.machine.number
                way = (f"172.30.{number}.0/24", "via", address_of(number))
                run("ip", "-n", namespace_of(node.machine.number), "route", "add", *way)


def _make_group(path: str) -> None:
    """A control group in every hierarchy, which the kubelet expects to be there."""
    for hierarchy in _CGROUPS.iterdir():
        if not hierarchy.is_dir():
            continue
        group = Path(f"{hierarchy}{path}")
        group.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (group / name).exists() and not (group / name).read_text().strip():
                (group / name).write_text((hierarchy / name).read_text())


def _may_raise_limits() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_RESOURCE & 1)
    return False
