"""As much of a Kubernetes API server as Helm's ``lookup`` needs: its version, its kinds, and one ConfigMap."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_KINDS = {
    "v1": ("ConfigMap", "PersistentVolumeClaim", "Secret", "Service", "ServiceAccount"),
    "apps/v1": ("Deployment", "StatefulSet"),
    "batch/v1": ("CronJob",),
    "networking.k8s.io/v1": ("NetworkPolicy",),
    "policy/v1": ("PodDisruptionBudget",),
}


@contextmanager
def serving_config_map(folder: Path, version: str, name: str, data: Mapping[str, str]) -> Iterator[Path]:
    """A kubeconfig of a server for the length of the block; it has this ConfigMap in every namespace, and no other."""
    major, minor, _ = version.split(".")
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": dict(data)}
    answers: dict[str, Any] = {
        "/version": {"major": major, "minor": minor, "gitVersion": f"v{version}"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [_group(name) for name in _KINDS if "/" in name],
        },
    }
    for group, kinds in _KINDS.items():
        place = f"/apis/{group}" if "/" in group else f"/api/{group}"
        answers[place] = {
            "kind": "APIResourceList",
            "groupVersion": group,
            "resources": [_kind(kind) for kind in kinds],
        }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            found = config_map if path.endswith(f"/configmaps/{name}") else answers.get(path)
            body = json.dumps(
                found or {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
            ).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: its callers print."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    users = [{"name": "u", "user": {"token": "t"}}]
    config = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context], "users": users}
    path = folder / "kubeconfig.json"
    path.write_text(json.dumps({**config, "current-context": "c"}))
    path.chmod(0o600)
    try:
        yield path
    finally:
        server.shutdown()
        server.server_close()


def _group(group: str) -> dict[str, Any]:
    version = {"groupVersion": group, "version": "v1"}
    return {"name": group.partition("/")[0], "versions": [version], "preferredVersion": version}


def _kind(kind: str) -> dict[str, Any]:
    plural = f"{kind.lower().removesuffix('y')}{'ies' if kind.endswith('y') else 's'}"
    return {"name": plural, "kind": kind, "namespaced": True, "verbs": ["get", "list"]}
