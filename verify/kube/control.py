"""The control plane on its own machine: etcd, API server, controllers and scheduler."""

from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path

from testkit.cluster.machine import Machine
from testkit.cluster.network import address_of
from testkit.cluster.shell import run, wait

LOST_AFTER_SECONDS = 20  # less makes nodes flap here: they report every 10 s, on two busy processors

_PORT = 6443
_SERVICES = "10.99.0.0/24"
_ETCD = "http://127.0.0.1:2379"
_READY_SECONDS = 120


def start_control_plane(machine: Machine, programs: Path) -> Path:
    """Starts it, and returns the kubeconfig of its administrator when it is ready. Raises TimeoutError."""
    root, address = machine.root, address_of(machine.number)
    key, tokens, certificates = root / "service-accounts.key", root / "tokens.csv", root / "certificates"
    run("openssl", "genrsa", "-out", key, "2048")
    token = secrets.token_hex(16)
    tokens.write_text(f'{token},admin,1,"system:masters"\n')
    config = root / "kubeconfig"
    config.write_text(json.dumps(_kubeconfig(f"https://{address}:{_PORT}", token)))
    # In memory: the cluster does not outlive the machine.
    machine.start(
        "etcd", "etcd", "--data-dir=/run/etcd", f"--listen-client-urls={_ETCD}", f"--advertise-client-urls={_ETCD}"
    )
    machine.start(
        "kube-apiserver",
        programs / "kube-apiserver",
        f"--etcd-servers={_ETCD}",
        f"--bind-address={address}",
        f"--advertise-address={address}",
        f"--secure-port={_PORT}",
        "--insecure-port=0",
        f"--cert-dir={certificates}",
        f"--token-auth-file={tokens}",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        f"--service-cluster-ip-range={_SERVICES}",
        "--kubelet-preferred-address-types=InternalIP",
    )
    asked = ("curl", "-fsSk", "-H", f"Authorization: Bearer {token}", f"https://{address}:{_PORT}/readyz")
    wait(
        lambda: subprocess.run(asked, capture_output=True, check=False).returncode == 0,
        lambda: f"no API server: {(root / 'kube-apiserver.log').read_text()[-1500:]}",
        _READY_SECONDS,
    )
    machine.start(
        "kube-controller-manager",
        programs / "kube-controller-manager",
        f"--kubeconfig={config}",
        f"--service-account-private-key-file={key}",
        f"--root-ca-file={certificates / 'apiserver.crt'}",
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--port=0",
        f"--cert-dir={root / 'controllers'}",
        f"--node-monitor-grace-period={LOST_AFTER_SECONDS}s",
    )
    machine.start(
        "kube-scheduler",
        programs / "kube-scheduler",
        f"--kubeconfig={config}",
        "--leader-elect=false",
        "--port=0",
        f"--cert-dir={root / 'scheduler'}",
    )
    return config


def _kubeconfig(url: str, token: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "farm", "cluster": {"server": url, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "farm", "context": {"cluster": "farm", "user": "admin"}}],
        "current-context": "farm",
    }
