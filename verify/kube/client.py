"""kubectl and Helm, as an operator calls them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testkit.chart.tools import HELM
from testkit.cluster.shell import run

_SECONDS = 600.0


@dataclass(frozen=True)
class Client:
    """Both, on the cluster that a kubeconfig names, in the farm's namespace."""

    config: Path
    namespace: str

    def kubectl(self, *arguments: str, check: bool = True) -> str:
        """What kubectl printed. Raises RuntimeError if it fails."""
        return run(*self.kubectl_command(*arguments), check=check, seconds=_SECONDS)

    def kubectl_command(self, *arguments: str) -> list[str]:
        """The command itself, for what is to go on beside others."""
        return [str(HELM[-1].kubectl()), f"--kubeconfig={self.config}", f"--namespace={self.namespace}", *arguments]

    def helm(self, *arguments: str | Path) -> str:
        """What Helm printed. Raises RuntimeError if it fails."""
        given = (f"--kubeconfig={self.config}", f"--namespace={self.namespace}")
        return run(HELM[-1].helm(), *arguments, *given, seconds=_SECONDS)

    def get(self, *what: str) -> Any:
        """An object, or the items of a list."""
        found = json.loads(self.kubectl("get", *what, "--output=json"))
        return found.get("items", found)

    def pods(self, component: str) -> list[Any]:
        """The pods of a part of the farm."""
        found: list[Any] = self.get("pods", f"--selector=app.kubernetes.io/component={component}")
        return found

    def allows(self, account: str, verb: str, resource: str) -> bool:
        """Whether a service account may do this in the namespace."""
        person = f"--as=system:serviceaccount:{self.namespace}:{account}"
        kind, _, part = resource.partition("/")
        command = self.kubectl_command("auth", "can-i", verb, kind, f"--subresource={part}", person)
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
        return done.stdout.strip() == "yes"


def is_ready(thing: Any) -> bool:
    """Whether a pod or a node says that it is ready."""
    conditions = thing.get("status", {}).get("conditions", ())
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)
