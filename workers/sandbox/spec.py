"""What a sandbox may do, as the options of its container; and whether a container really is one, by the engine's word.

One module, so that request and check cannot drift apart. docs/security.md says why each line is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from docker.types import LogConfig, Mount, Ulimit

from buildfarm.config_vars.build_variables import FILES
from workers.ownership import LABEL_ATTEMPT, LABEL_NODE
from workers.sandbox.workspace import Workspace

# The process that keeps a sandbox alive between its steps has its own user: the build cannot end it.
KEEPER_ID = 9_999

TOOLS = "/opt/buildfarm/tools"

# Where a build on a snapshot finds its app and its cache in one file system, so that folders can move between them
MERGED = "/run/buildfarm/merged"

# Of a pause container; the engine's runtime needs about 20 MB in it for a moment.
_PAUSE_BYTES, _PAUSE_PROCESSES = 64 * 1024 * 1024, 8

_HOSTNAME = "build"

_CA_BUNDLE = "/etc/buildfarm/ca-bundle.crt"
CA_VARIABLES = (
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
)


@dataclass(frozen=True)
class SandboxSpec:
    """The limits of every sandbox of one node."""

    node_id: str
    network: str
    memory_bytes: int
    cpus: float
    pids_max: int
    files_max: int
    ca_bundle: Path | None
    runtime: str = ""  # the engine's default where it is empty
    user_namespace: str = ""  # "host" takes a sandbox out of the engine's remap
    tools: Path | None = None  # the node's build tools

    def options(
        self, name: str, workspace: Workspace, environment: Mapping[str, str], network: str = ""
    ) -> dict[str, Any]:
        """Arguments of docker-py's ``containers.create``. ``network`` is a mode that joins a pause container."""
        seen = "rslave" if workspace.mount is not None else None  # what the node mounts there later is seen too
        mounts = [
            Mount(inside, source, type="bind", propagation=seen) for inside, source in _bind_sources(workspace).items()
        ]
        mounts += [Mount(to, str(place), type="bind", read_only=True) for to, place in self._read_only.items()]
        trusted = dict.fromkeys(CA_VARIABLES, _CA_BUNDLE) if self.ca_bundle is not None else {}
        owner = workspace.owner
        return {
            **self._sleeping(name, network),
            "environment": {**trusted, **environment},
            "mounts": mounts,
            # Config vars live in memory only: they are secrets more often than not.
            "tmpfs": dict.fromkeys(("/platform/env", FILES), f"size=16m,mode=0700,uid={owner},gid={owner}"),
            "mem_limit": self.memory_bytes,
            "memswap_limit": self.memory_bytes,
            "nano_cpus": int(self.cpus * 1e9),
            "pids_limit": self.pids_max,
            "ulimits": [
                Ulimit(name="nofile", soft=self.files_max, hard=self.files_max),
                # A core dump would write the build's memory, and with it its secrets, into the workspace.
                Ulimit(name="core", soft=0, hard=0),
            ],
            "log_config": LogConfig(type=LogConfig.types.JSON, config={"max-size": "1m", "max-file": "1"}),
        }

    @property
    def _read_only(self) -> dict[str, Path]:
        """What of the node every sandbox sees: where, and what is mounted there."""
        return {
            inside: place for inside, place in ((_CA_BUNDLE, self.ca_bundle), (TOOLS, self.tools)) if place is not None
        }

    def pause_options(self, name: str) -> dict[str, Any]:
        """The same of a pause container, whose host name the sandboxes get that join it."""
        return {
            **self._sleeping(name, ""),
            "mem_limit": _PAUSE_BYTES,
            "memswap_limit": _PAUSE_BYTES,
            "pids_limit": _PAUSE_PROCESSES,
            "log_config": LogConfig(type="none"),
        }

    def _sleeping(self, name: str, network: str) -> dict[str, Any]:
        """What every container has whose own process only sleeps."""
        own = {"network": self.network, "hostname": _HOSTNAME}
        return {
            "name": name,
            **({"network_mode": network} if network else own),
            "labels": {LABEL_ATTEMPT: name, LABEL_NODE: self.node_id},
            "entrypoint": ["sleep", "infinity"],
            "command": [],
            "user": f"{KEEPER_ID}:{KEEPER_ID}",
            "init": True,
            "read_only": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges", f"seccomp={seccomp_profile()}"],
            "ipc_mode": "private",
            "runtime": self.runtime or None,
            "userns_mode": self.user_namespace or None,
        }

    def differences(self, inspected: Mapping[str, Any], workspace: Workspace, network: str = "") -> list[str]:
        """What of a container differs from what was asked for; ``inspected`` is the engine's answer to an inspect."""
        host = inspected["HostConfig"]
        found = {name: _plain(host.get(name)) for name in _NONE}
        wanted: dict[str, Any] = dict.fromkeys(_NONE)
        exact = {
            "CapDrop": ["ALL"],
            "ReadonlyRootfs": True,
            "Init": True,
            "IpcMode": "private",
            "NetworkMode": network or self.network,
            "Memory": self.memory_bytes,
            "MemorySwap": self.memory_bytes,
            "NanoCpus": int(self.cpus * 1e9),
            "PidsLimit": self.pids_max,
            "UsernsMode": self.user_namespace,
            "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp_profile()}"],
        }
        found |= {name: host.get(name) for name in exact}
        wanted |= exact
        found["Ulimits"] = {item["Name"]: (item["Soft"], item["Hard"]) for item in host.get("Ulimits") or ()}
        wanted["Ulimits"] = {"nofile": (self.files_max, self.files_max), "core": (0, 0)}
        found["User"], wanted["User"] = inspected["Config"]["User"], f"{KEEPER_ID}:{KEEPER_ID}"
        found["Mounts"] = {
            item["Destination"]: (item["Source"], item["RW"], item["Propagation"]) for item in inspected["Mounts"]
        }
        seen = "rslave" if workspace.mount is not None else "rprivate"
        wanted["Mounts"] = {inside: (source, True, seen) for inside, source in _bind_sources(workspace).items()} | (
            {inside: (str(place), False, "rprivate") for inside, place in self._read_only.items()}
        )
        if self.runtime:
            found["Runtime"], wanted["Runtime"] = host.get("Runtime"), self.runtime
        hidden = {"/proc/kcore", "/proc/keys", "/sys/firmware"} - set(host.get("MaskedPaths") or ())
        differing = [f"{name} is {_short(found[name])}, not {_short(wanted[name])}" for name in wanted
                     if found[name] != wanted[name]]  # fmt: skip
        return differing + [f"{path} is not hidden" for path in sorted(hidden)]


def _bind_sources(workspace: Workspace) -> dict[str, str]:
    """Where the sandbox sees each folder, and what the engine mounts there."""
    folders = {
        "/app": workspace.app,
        "/cache": workspace.cache,
        "/tmp": workspace.tmp,
        "/layers": workspace.layers,
        MERGED: workspace.merged,
    }
    return {inside: folder.bind_source for inside, folder in folders.items()}


# Of these a sandbox has nothing; the engine writes the same nothing in several ways.
_NONE = (
    "Privileged", "CapAdd", "Devices", "DeviceRequests", "DeviceCgroupRules", "Binds", "VolumesFrom", "GroupAdd",
    "PidMode", "UTSMode", "PortBindings", "PublishAllPorts", "OomKillDisable", "Sysctls", "Links", "ExtraHosts",
)  # fmt: skip


def seccomp_profile() -> str:
    """The system calls of a sandbox: the engine's own profile, less what tools/make-seccomp takes out of it (JSON)."""
    return resources.files(__package__).joinpath("seccomp.json").read_text().strip()


def _plain(value: Any) -> Any:
    return value or None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
