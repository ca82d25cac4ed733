"""The farm in the cluster: its values, and what the cluster and the farm say of its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from buildfarm import __version__
from buildfarm.farm import Farm
from buildfarm.settings import Settings
from testkit.chart.manifests import CHART
from testkit.cluster import services
from testkit.cluster.network import address_of
from testkit.cluster.shell import run, wait
from verify.kube.builds import Builds
from verify.kube.client import Client, is_ready
from verify.kube.node import Node

RELEASE, NAMESPACE = "farm", "builds"
WORKERS = "farm-buildfarm-worker"
LABEL = "buildfarm/builds"  # of hosts that build, as docs/operating.md has it
STORAGE_CLASS = "engines"
TOLERATION = {"key": LABEL, "operator": "Exists"}
IMAGES = tuple(f"buildfarm/{part}:{__version__}" for part in ("api", "worker", "engine"))

_MIB = 1024**2
_READY_SECONDS = 300.0


@dataclass(frozen=True)
class Installation:
    """All that a trial needs."""

    client: Client
    farm: Farm
    nodes: Sequence[Node]
    builds: Builds
    values: Path

    def install(self, *more: str) -> None:
        """Installs the chart or upgrades it, and returns when all of it is ready. Raises RuntimeError."""
        self.client.helm(
            "upgrade",
            "--install",
            RELEASE,
            CHART,
            "--create-namespace",
            f"--values={self.values}",
            "--wait",
            "--timeout=9m",
            *more,
        )

    def provide_volumes(self) -> None:
        """A folder of each host as a volume for its worker's engine."""
        manifests: list[dict[str, Any]] = [
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {"name": STORAGE_CLASS},
                "provisioner": "kubernetes.io/no-provisioner",
                "volumeBindingMode": "WaitForFirstConsumer",
            },
            *(_volume(node) for node in self.nodes),
        ]
        path = self.values.with_name("volumes.yaml")
        path.write_text(yaml.safe_dump_all(manifests))
        self.client.kubectl("apply", f"--filename={path}")

    def node_of(self, build_node: str | None) -> Node:
        """The machine that a worker's pod runs on."""
        host = self.client.get("pod", str(build_node))["spec"]["nodeName"]
        return next(node for node in self.nodes if node.name == host)

    def other(self, node: Node) -> Node:
        """The other one of two."""
        return next(found for found in self.nodes if found is not node)

    def ready_workers(self) -> list[str]:
        """Names of the workers' pods that are ready and stay."""
        pods = self.client.pods("worker")
        return [pod["metadata"]["name"] for pod in pods if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]

    def wait_for_workers(self, count: int, seconds: float = _READY_SECONDS) -> float:
        """Returns after how many seconds so many are ready, for Kubernetes and for the farm."""

        def there() -> bool:
            accepting = {node.id for node in self.farm.nodes() if node.accepting}
            return len(accepting & set(self.ready_workers())) == count

        return wait(there, lambda: f"not {count} workers: {self.describe()}", seconds)

    def describe(self) -> str:
        """Why something may not be ready."""
        events = self.client.kubectl("get", "events", "--sort-by=.lastTimestamp", check=False)
        pods = self.client.kubectl("get", "pods", "--output=wide", check=False)
        logs = [
            self.client.kubectl("logs", pod["metadata"]["name"], "--all-containers", "--tail=15", check=False)
            for pod in self.client.pods("worker")
        ]
        return "\n".join([pods, events[-3000:], *logs, str(self.farm.nodes())])


def _volume(node: Node) -> dict[str, Any]:
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"engine-{node.name}"},
        "spec": {
            "storageClassName": STORAGE_CLASS,
            "capacity": {"storage": "60Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": f"{node.machine.disk}/engine", "type": "DirectoryOrCreate"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }


def service_images() -> list[str]:
    """The farm's own images of Redis and of its registry, as its containers on this machine have them."""
    containers = ("buildfarm-redis", "buildfarm-registry")
    return run("docker", "inspect", "--format={{.Config.Image}}", *containers).split()


def write_values(path: Path, settings: Settings, control: int) -> None:
    """Values for two small hosts; Redis and the registry are outside, by their addresses."""
    small = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}}
    values: dict[str, Any] = {
        "images": {"engine": {"repository": "buildfarm/engine", "tag": __version__}},
        "settings": {
            "namespace": settings.namespace,
            "builder": settings.builder,
            "imager": settings.imager,
            "slots": 2,
            "build_seconds": 90,
            "drain_seconds": 90,
            "memory_bytes": 512 * _MIB,
            "workspace_bytes": 512 * _MIB,
            "disk_free_bytes": 400 * _MIB,
            "disk_clean_bytes": 500 * _MIB,
        },
        "secrets": {"farmKey": settings.farm_key.get_secret_value()},
        "worker": {"replicas": 2, "resources": small, "deletionCost": True},
        "engine": {"resources": {"requests": small["requests"], "limits": {"cpu": "2", "memory": "3Gi"}}},
        "api": {"replicas": 2, "tolerations": [TOLERATION], "resources": small},
        "redis": {"enabled": False, "external": {"url": services.redis_url()}},
        "registry": {"enabled": False, "external": {"url": services.registry_url()}},
        "networkPolicies": {
            "apiServer": [{"ipBlock": {"cidr": f"{address_of(control)}/32"}}],
            "externalServices": [{"to": [{"ipBlock": {"cidr": services.SUBNET}}]}],
        },
    }
    path.write_text(yaml.safe_dump(values))
