"""The start-up self-check: engine versions, and what a probe container can do."""

from __future__ import annotations

import re
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from buildfarm.errors import NodeError, SetupError
from buildfarm.settings import Settings
from buildfarm.telemetry import Logger
from buildfarm.telemetry.metrics import Metrics
from workers.engine import engine_failures
from workers.sandbox.container import Sandboxes
from workers.sandbox.firewall import parse_allowed, remove_stale_chains
from workers.sandbox.network_rules import CachePort, FarmHosts, NetworkRules
from workers.sandbox.overlay import mount_later
from workers.sandbox.spec import MERGED
from workers.sandbox.workspace import Workspaces

# Older ones lack what the sandbox is made with: the version, and Debian's package.
_OLDEST = {"Engine": ((20, 10, 0), "docker.io"), "runc": ((1, 1, 0), "runc")}
# Known ways out of a container are closed from here on (CVE-2025-31133, -52565, -52881). A distribution may have closed
# them in an older one, so this is a warning.
_RUNC_SAFE = (1, 2, 8)

_FILESYSTEMS = Path("/proc/filesystems")
_STATUS = {"CapInh": "0", "CapPrm": "0", "CapEff": "0", "CapBnd": "0", "CapAmb": "0", "NoNewPrivs": "1", "Seccomp": "2"}
_LIMITS = {"MemoryLimit": "memory", "SwapLimit": "swap", "CpuCfsQuota": "processors", "PidsLimit": "processes"}
_LATER = "mounted-later"
_PROBE = f"""
[ ! -e {MERGED}/{_LATER} ] || echo 'Later: seen'
grep -E '^(Cap|NoNewPrivs:|Seccomp:|Uid:)' /proc/self/status
for place in /usr /etc /buildpacks /opt/buildfarm/tools; do
  touch $place/probe 2>/dev/null && echo "Written: $place"
done
[ -e /var/run/docker.sock ] && echo 'Socket: there'
[ -z "$1" ] || ! timeout 2 bash -c "</dev/tcp/$1/$2" 2>/dev/null || echo 'Node: reached'
echo 'Probe: done'
"""


@dataclass(frozen=True)
class Isolation:
    """What keeps this node's sandboxes apart from everything else."""

    client: docker.DockerClient
    sandboxes: Sandboxes
    workspaces: Workspaces
    image: str  # the builder
    rules: NetworkRules
    gateway: str
    logger: Logger

    def prove(self) -> bool:
        """Sets the rules and tries a probe; returns whether it saw what was mounted after its start.

        Raises SetupError that names all that is not as it should be, and NodeError.
        """
        self._set_rules()
        if not self.workspaces.bounded:
            self.logger.warning(
                "workspaces_not_bounded", reason="the worker is not root", advice="See docs/security.md."
            )
        with engine_failures("say what it is"):
            version, info = self.client.version(), self.client.info()
        if limits := missing_limits(info):
            self.logger.warning("limits_not_enforced", limits=limits, advice="See docs/security.md.")
        runc = version_in(version, "runc")
        if runc and runc < _RUNC_SAFE:
            self.logger.warning("runc_is_old", version=".".join(map(str, runc)), advice="See docs/security.md.")
        try:
            wrong, sees_later = self._probe()
        except NodeError as error:
            # Only now: a mount loads what the kernel has as a module.
            if lacks := missing_features(_FILESYSTEMS.read_text()):
                raise SetupError(
                    f"{error.message.rstrip('.')}: {'; '.join(lacks)}.", advice="Do so, and start the node again."
                ) from error
            raise
        found = [*engine_differences(version, info, user_namespace=self.workspaces.user_offset > 0), *wrong]
        if found:
            raise SetupError(
                f"This node's sandboxes are not secure: {'; '.join(found)}.",
                advice="It takes no builds. docs/security.md explains each item.",
            )
        return sees_later

    def _set_rules(self) -> None:
        self.rules.keep()
        if self.rules.obstacle:
            self.logger.warning("network_rules_not_set", reason=self.rules.obstacle, advice="See docs/security.md.")
        elif stale := remove_stale_chains():
            self.logger.info("stale_network_rules_removed", bridges=stale)

    def _probe(self) -> tuple[list[str], bool]:
        name = f"buildfarm-probe-{secrets.token_hex(4)}"
        spec = self.sandboxes.spec
        with (
            self.workspaces.make(name) as workspace,
            self.sandboxes.make(self.image, name, workspace, {}) as sandbox,
            _listener("" if self.rules.obstacle or self.rules.allows(self.gateway) else self.gateway) as port,
        ):
            with engine_failures("inspect a sandbox"):
                inspected = self.client.api.inspect_container(sandbox.container_id)
            found = spec.differences(inspected, workspace)
            with suppress(NodeError):  # where the node cannot mount, nothing can be seen
                mount_later(workspace, _LATER)
            arguments = [self.gateway, str(port)] if port else ["", ""]
            ended = sandbox.run(["sh", "-c", _PROBE, "probe", *arguments], capture=True)
            output = ended.stdout.decode(errors="replace")
        return [*found, *probe_differences(output, workspace.owner, spec.runtime)], "Later: seen" in output.splitlines()


def make_rules(settings: Settings, client: docker.DockerClient, metrics: Metrics) -> NetworkRules:
    """For a node of these settings. Raises SetupError."""
    rules = NetworkRules(
        client=client,
        network=settings.sandbox_network,
        allowed=parse_allowed(settings.sandbox_allow),
        farm=FarmHosts((settings.redis_url.get_secret_value(), settings.registry_url)),
        downloads=CachePort(settings.downloads_url),
    )
    metrics.network_rules_confirmed.set_function(lambda: rules.confirmed)
    return rules


def make_isolation(
    rules: NetworkRules, sandboxes: Sandboxes, workspaces: Workspaces, image: str, logger: Logger
) -> Isolation:
    """For a node with these rules. Raises SetupError and NodeError."""
    gateway = next(
        (item["Gateway"] for item in rules.inspect()["IPAM"]["Config"] if "." in item.get("Gateway", "")), ""
    )
    return Isolation(sandboxes.client, sandboxes, workspaces, image, rules, gateway, logger)


def engine_differences(version: Mapping[str, Any], info: Mapping[str, Any], *, user_namespace: bool) -> list[str]:
    """What of the engine is not as sandboxes need it."""
    found = []
    for name, (oldest, package) in _OLDEST.items():
        has = version_in(version, name)
        if has and has < oldest:
            needed = ".".join(map(str, oldest))
            found.append(f"{name} is {'.'.join(map(str, has))}, older than {needed} (update the package {package})")
    options = [option.partition(",")[0] for option in info.get("SecurityOptions") or ()]
    if "name=seccomp" not in options:
        found.append("the engine does not support seccomp (its kernel needs CONFIG_SECCOMP_FILTER)")
    if ("name=userns" in options) != user_namespace:
        what = "has a" if not user_namespace else "has no"
        found.append(f"the engine {what} user namespace, and BUILDFARM_USER_NAMESPACE_OFFSET says otherwise")
    return found


def missing_features(filesystems: str, control: Path = Path("/dev/loop-control")) -> list[str]:
    """What a workspace is mounted with that this kernel lacks, by /proc/filesystems; each names what to load."""
    known = {line.split()[-1] for line in filesystems.splitlines() if line.strip()}
    found = [f"the kernel has no {name} (run `modprobe {name}`)" for name in ("ext4", "overlay") if name not in known]
    if not control.exists():
        found.append(f"{control} is missing (run `modprobe loop`; in a container, mount /dev)")
    return found


def missing_limits(info: Mapping[str, Any]) -> list[str]:
    """Which limits of a build this engine's kernel does not enforce, for its control groups lack them."""
    return [limit for name, limit in _LIMITS.items() if info.get(name) is False]


def version_in(version: Mapping[str, Any], component: str) -> tuple[int, ...]:
    """The version of a component of the engine; empty if it has none of that name."""
    for item in version.get("Components") or ():
        numbers = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", item.get("Version", ""))
        if item.get("Name") == component and numbers:
            return tuple(int(number or 0) for number in numbers.groups())
    return ()


def probe_differences(output: str, owner: int, runtime: str) -> list[str]:
    """What a probe could do that it should not, by its own output."""
    said = dict(line.split(":", 1) for line in output.splitlines() if ":" in line)
    if "Probe" not in said:
        return ["the probe did not finish"]
    wanted = {"Uid": str(owner), **_STATUS}
    if runtime:
        del wanted["Seccomp"]  # runtimes with their own kernel have their own filters
    found = []
    for name, value in wanted.items():
        first = (said.get(name, "").split() or ["nothing"])[0]
        if (first.lstrip("0") or "0") != value:
            found.append(f"a probe's {name} is {first}, not {value}")
    if "Written" in said:
        found.append(f"a probe could write to {said['Written'].strip()}")
    if "Socket" in said:
        found.append("a probe saw the engine's socket")
    if "Node" in said:
        found.append("a probe reached a port of this node")
    return found


@contextmanager
def _listener(address: str) -> Iterator[int]:
    """A port of this node that sandboxes would reach if the rules did not hold; 0 if nothing is to be tried."""
    if not address:
        yield 0
        return
    with socket.create_server((address, 0)) as server:
        yield server.getsockname()[1]
