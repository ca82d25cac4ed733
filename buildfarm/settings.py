"""Every setting of the farm, read once from ``BUILDFARM_*`` by an entry point and passed on from there.

docs/settings.md is the same table for people; tests/unit/buildfarm/test_settings.py keeps the two equal.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)  # fmt: skip

from buildfarm.errors import SettingsError

HOST_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
STATE_DIRECTORY = Path(os.environ.get("BUILDFARM_STATE_DIRECTORY", Path.home() / ".local/state/buildfarm"))
ENV_PREFIX = "BUILDFARM_"
ENV_FILE = STATE_DIRECTORY / "farm.env"  # `buildfarm up` writes it
MIB = 1024 * 1024
CELL_NAME = r"[a-z0-9]{1,16}"
NOT_CELLS = frozenset({"default", "include"})  # words of nginx's own in a `map`
_SIZES_MAX = 8  # they are labels of metrics
_SIZE_PART = re.compile(r"(memory|disk):[1-9]\d{0,6}(MiB|GiB)|cpus:(?!0+(\.0+)?$)\d{1,3}(\.\d+)?|seconds:[1-9]\d{0,4}")
_UPSTREAMS = ("pypi", "pypi_files", "npm", "apt", "go")
SANDBOX_NETWORK = "buildfarm-builds"  # how the names of networks begin that are made for a farm


class Settings(BaseModel):
    """One field, one variable; the unit is the end of the name.

    What is not given is read from the environment, or else from `ENV_FILE`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    # Where things are
    redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), description="Redis, the store and the queue")
    farm_key: SecretStr = Field(SecretStr(""), description="encrypts config vars in Redis; several: the first encrypts")
    namespace: str = Field("buildfarm:", description="prefix of every key in Redis")
    signing_keys: SecretStr = Field(
        SecretStr(""), description="for the signer alone: its keys as file:PATH or exec:COMMAND, one per line"
    )
    registry_url: str = Field("http://127.0.0.1:5000", description="the farm's registry, as this process reaches it")
    cell: str = Field(
        "", pattern=rf"^({CELL_NAME})?$", description="name of this farm among several behind one address"
    )
    redis_ca: Path | None = Field(None, description="certificates to verify Redis's with, for rediss://")
    registry_ca: Path | None = Field(None, description="the same for an https:// registry; none: the host's")
    signer_metrics_port: int = Field(0, ge=0, le=65535, description="port of /metrics of the signer; 0: off")
    signing: str = Field(
        "", description="1, or the namespace of the one farm that it is for: images are signed before their tags move"
    )
    provenance: Literal["hosted", "laptop", "off"] = Field(
        "hosted",
        description="for the signer alone: what its statements of provenance call the farm; off: it makes none",
    )
    builder: str = Field("", description="the builder image, as repository@digest in the farm's registry")
    imager: str = Field("", description="the image assembler, as repository@digest likewise; empty: images/imager")
    base: str = Field("", description="base image of the builder that `up` builds; empty: Debian's current stable")
    state_directory: Path = Field(STATE_DIRECTORY, description="state of the local farm between runs")
    ca_bundle: Path | None = Field(
        HOST_CA_BUNDLE if HOST_CA_BUNDLE.is_file() else None, description="trusted certificates inside the sandbox"
    )

    # The node
    node_id: str = Field(  # a queue's name has a + between its node and a size
        default_factory=socket.gethostname, pattern=r"^[^+]*$", description="name of this build node, without +"
    )
    node_classes: frozenset[str] = Field(
        frozenset(), description="classes of builds that this node serves, as bulk,interactive; empty: all"
    )
    slots: int = Field(2, ge=1, le=64, description="builds that run at once on this node")
    node_sizes: frozenset[str] = Field(
        frozenset({"standard"}), min_length=1, description="sizes of builds that this node serves, as large,standard"
    )
    node_memory_bytes: int = Field(
        0, ge=0, description="memory of all sandboxes of this node; 0: slots times memory_bytes"
    )
    node_cpus: float = Field(0, ge=0, description="processors of its builds; 0: slots times cpus")
    workspace_directory: Path = Field(
        Path("/var/lib/buildfarm/workspaces"), description="builds' files; the engine must see the same path"
    )
    docker_url: str = Field("unix:///var/run/docker.sock", description="this node's Docker engine")
    sandbox_network: str = Field(
        "", validate_default=True, description="the bridge network that builds run in; empty: one for this farm alone"
    )
    disk_free_bytes: int = Field(2048 * MIB, gt=0, description="with less free disk the node takes no builds")
    disk_clean_bytes: int = Field(
        4096 * MIB, gt=0, description="with less free disk old caches and builders are removed"
    )
    warm_sandboxes: int = Field(
        -1, ge=-1, le=64, description="started sandboxes that the node keeps ready; -1: one for each slot"
    )
    drain_seconds: float = Field(
        900, gt=0, description="a stopping node ends within this, its last builds back in the queue"
    )
    kubernetes_url: str = Field("", description="Kubernetes API that receives the pod's deletion cost; empty: none")
    metrics_host: str = Field(
        "127.0.0.1", description="address that /metrics is served on, by nodes and the API; :: is all"
    )
    metrics_port: int = Field(0, ge=0, le=65535, description="port of /metrics on the node; 0: off")

    # Limits of one build
    build_seconds: float = Field(900, gt=0, description="a build takes no longer than this")
    silence_seconds: float = Field(300, gt=0, description="a build is never silent for longer than this")
    source_bytes: int = Field(250 * MIB, gt=0, description="a packed source is no larger than this")
    workspace_bytes: int = Field(4096 * MIB, gt=0, description="app, cache and temporary files together")
    workspace_inodes: int = Field(400_000, gt=0, description="files of a workspace")
    image_bytes: int = Field(2048 * MIB, gt=0, description="an app's files, uncompressed, without the builder")
    log_bytes: int = Field(50 * MIB, gt=0, description="a build's log; the rest is cut, and a line says so")
    log_head_bytes: int = Field(MIB, ge=0, description="the beginning of a log that is kept, with 64 bytes a line")
    log_tail_bytes: int = Field(
        3 * MIB, gt=0, description="and its newest lines; between them a mark says what is missing"
    )
    log_waiting_bytes: int = Field(
        1024 * MIB, ge=0, description="logs of ended builds that wait on this node until the registry takes them"
    )
    memory_bytes: int = Field(2048 * MIB, gt=0, description="memory of a sandbox; it has no swap")
    cpus: float = Field(2.0, gt=0, description="processors of a sandbox")
    pids_max: int = Field(512, gt=0, description="processes and threads of a sandbox")
    files_max: int = Field(16_384, gt=0, description="open files of a process in a sandbox")
    sizes: dict[str, str] = Field(
        {}, description="sizes beside standard, as large=memory:6GiB/cpus:4/disk:16GiB/seconds:1800,huge=memory:16GiB"
    )

    # Isolation
    compile_network: bool = Field(True, description="whether buildpacks reach the network while they compile")
    sandbox_allow: str = Field("", description="private addresses that builds may reach: CIDR or CIDR:PORT, by commas")
    downloads_url: str = Field(
        "", pattern=r"^(http://[A-Za-z0-9.-]+(:\d+)?)?$", description="cache of packages that builds fetch from first"
    )
    downloads_bytes: int = Field(10240 * MIB, ge=MIB, description="disk of the cache of packages that `up` starts")
    downloads_from: dict[str, str] = Field(
        {}, description="its upstreams if not the public ones: pypi=URL,pypi_files=URL,npm=URL,apt=URL,go=URL"
    )
    downloads_proxy: str = Field("", description="HTTP proxy before its upstreams, as http://HOST:PORT")
    sandbox_runtime: str = Field("", description="runtime of sandboxes (runsc, kata); none: the engine's default")
    sandbox_user_namespace: Literal["", "host"] = Field("", description="host: not in the engine's user namespace")
    user_namespace_offset: int = Field(0, ge=0, description="first host id of the engine's user namespace; 0: none")

    # Buildpacks
    profile: Literal["scalingo", "heroku"] = Field(
        "scalingo", description="which platform's conventions apply where the two differ"
    )
    buildpack_directory: Path = Field(
        Path("/var/lib/buildfarm/buildpacks"), description="this node's copies of fetched buildpacks"
    )
    buildpack_copies_bytes: int = Field(1024 * MIB, ge=0, description="those copies together")
    tool_directory: Path = Field(Path("/var/lib/buildfarm/tools"), description="this node's copies of build tools")
    tool_copies_bytes: int = Field(4096 * MIB, ge=0, description="those copies together, unpacked")

    # Build caches
    cache_directory: Path = Field(Path("/var/lib/buildfarm/caches"), description="this node's copies of build caches")
    cache_bytes: int = Field(1024 * MIB, gt=0, description="a build cache larger than this is not kept; uncompressed")
    cache_copies_bytes: int = Field(4096 * MIB, ge=0, description="copies of build caches on this node, together")
    snapshot_bytes: int = Field(8192 * MIB, ge=0, description="unpacked build caches on this node, together; 0: none")

    # Delivery
    lease_seconds: float = Field(6, gt=0, description="a build whose lease is not renewed for this long is lost")
    renew_seconds: float = Field(2, gt=0, description="how often a running build renews its lease")
    replicas_min: int = Field(0, ge=0, le=16, description="replicas of Redis that must have a submit and a claim")
    replica_wait_seconds: float = Field(0.5, gt=0, le=4, description="how long a submit and a claim wait for them")
    attempts_max: int = Field(3, ge=1, description="attempts before the farm gives a build up")
    outage_seconds: float = Field(600, gt=0, description="a build waits this long for an unreachable Redis or registry")
    resend_seconds: float = Field(10, gt=0, description="a queued build without a message gets a new one after this")
    offer_seconds: float = Field(
        0.1, ge=0, le=1, description="a build waits this long for the node with its app's cache, if it has room; 0: not"
    )
    classes: dict[str, int] = Field(
        {"interactive": 4, "bulk": 1}, description="classes of builds and their weights; the first is the default"
    )
    tenant_sizes: frozenset[str] = Field(
        frozenset({"standard"}), description="sizes that tenants may use unless their limits say otherwise"
    )
    sizes_on_demand: frozenset[str] = Field(
        frozenset(), description="sizes whose nodes start when builds wait: accepted while no node serves them"
    )
    shards: int = Field(16, ge=1, le=256, description="queues that the tenants of a class are spread over")
    tenant_running_max: int = Field(10, ge=1, le=10_000, description="builds of a tenant that run at once")
    app_running_max: int = Field(1, ge=1, le=10_000, description="builds of an app that run at once")
    tenant_waiting_max: int = Field(1000, ge=1, le=1_000_000, description="builds of a tenant that wait")
    tenant_stored_bytes: int = Field(
        100 * 1024 * MIB, ge=0, description="a tenant's bytes in the registry; 0: no limit"
    )
    logs_bytes: int = Field(256 * MIB, ge=MIB, description="all logs in Redis; never over a quarter of its maxmemory")
    tenant_logs_bytes: int = Field(64 * MIB, ge=MIB, description="a tenant's logs; never over half of all logs' bytes")
    record_seconds: float = Field(
        7 * 86400,
        gt=0,
        le=3650 * 86400,
        description="how long a finished build keeps its image, archived or not; Redis keeps it no longer",
    )
    archive_seconds: float = Field(3600, gt=0, description="a finished build moves from Redis to the registry after it")
    archive_kept_seconds: float = Field(
        400 * 86400, gt=0, description="how long a finished build can be looked up in the registry"
    )

    # Export
    compression: Literal["gzip", "zstd", "none"] = Field("gzip", description="zstd needs engines of 23.0 or newer")
    compression_threads: int = Field(2, ge=1, le=16, description="threads that compress one layer")
    layer_min_bytes: int = Field(4 * MIB, ge=0, description="a made folder this large is its own layer")
    max_app_layers: int = Field(8, ge=1, le=64, description="layers of an app at most; 1: a single one")
    layer_facts: bool = Field(
        True,
        description="nodes read what apps need of their base and contain; off: apps move without that being checked",
    )
    media_types: Literal["docker", "oci"] = Field("docker", description="media types of images")
    registry_attempts: int = Field(5, ge=1, description="tries of one request to the registry")
    registry_timeout_seconds: float = Field(30, gt=0, description="silence on a connection to the registry")

    # The registry's garbage
    registry_storage: Path | None = Field(None, description="files of the registry; set: this node collects garbage")
    collect_every_seconds: float = Field(3600, gt=0, description="from the end of a collection to the next one")
    collect_bytes: int = Field(0, ge=0, description="a collection frees no more than this; 0: no limit")
    collect_seconds: float = Field(600, gt=0, description="and takes nothing more after this")
    collect_grace_seconds: float = Field(7200, gt=0, description="what is younger stays; longer than any build takes")
    retain_images: int = Field(
        10, ge=0, le=100_000, description="newest images of an app that stay without a tag or a record"
    )
    retain_image_days: float = Field(7, ge=0, le=3650, description="and for how long all of them do")
    retain_sources: int = Field(0, ge=0, le=100_000, description="newest sources of a tenant that stay")
    retain_source_days: float = Field(7, ge=0, le=3650, description="and for how long all of them do")
    retain_caches: int = Field(
        0, ge=0, le=100_000, description="1: an app's newest build cache stays however old it is"
    )
    retain_cache_days: float = Field(30, ge=0, le=3650, description="and for how long others do")
    retain_records: int = Field(
        0, ge=0, le=100_000, description="records of an app in Redis at most; 0: as many as there are"
    )
    in_use_file: Path | None = Field(None, description="running images by digest, one per line; never removed")

    # The API
    api_host: str = Field("127.0.0.1", description="address that the API listens on; :: is all, of IPv4 too")
    api_port: int = Field(8088, ge=1, le=65535, description="port of the API and its page")
    api_metrics_port: int = Field(0, ge=0, le=65535, description="port of /metrics of the API; 0: off")
    api_calls_per_hour: int = Field(4500, ge=1, description="requests of one token; more are refused for a while")
    api_builds_per_minute: int = Field(60, ge=1, description="builds that one tenant may submit")
    api_uploads_max: int = Field(16, ge=1, le=256, description="sources that one API process receives at once")
    api_token_uploads_max: int = Field(4, ge=1, le=256, description="of these, a single token's")
    api_chunk_seconds: float = Field(30, gt=0, description="time that a client has to send each 64 KiB of a source")
    api_streams_max: int = Field(500, ge=1, le=10_000, description="live streams that one API process has open at once")
    api_token_streams_max: int = Field(100, ge=1, le=10_000, description="of these, a single token's")
    api_trusted_proxies: str = Field(
        "127.0.0.1/32", description="networks of the proxies whose X-Forwarded headers count, as CIDR,CIDR"
    )
    git_push: bool = Field(False, description="whether the API accepts git push at /git/TENANT/APP")
    git_push_branches: str = Field(
        "main,master",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}(,[A-Za-z0-9][A-Za-z0-9._/-]{0,99}){0,9}$",
        description="branches that a push builds, by commas; the first of them that is pushed",
    )
    git_push_bytes: int = Field(512 * MIB, gt=0, description="a push, files and history packed, is no larger than this")
    git_pushes_max: int = Field(4, ge=1, le=64, description="pushes that one API process receives and packs at once")
    webhook_networks: str = Field("", description="private networks that webhooks may reach, as CIDR,CIDR")

    # The client
    url: str = Field("", description="the API that the command line talks to; empty: Redis and the registry themselves")
    token: SecretStr = Field(SecretStr(""), description="the token that it uses there")

    # Logs, metrics and traces
    log_format: Literal["auto", "console", "json"] = Field("auto", description="auto: columns on a terminal, else JSON")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="what is logged")
    metrics_tenants: bool = Field(False, description="also count by tenant; you must keep their number bounded")
    otlp_endpoint: str = Field("", description="where traces go, as http://host:4318; empty: nowhere")

    @model_validator(mode="before")
    @classmethod
    def _add_variables(cls, given: dict[str, Any]) -> dict[str, Any]:
        found = _read_file(ENV_FILE) | dict(os.environ)
        lower = {name.lower(): value for name, value in found.items()}
        names = {name: ENV_PREFIX.lower() + name for name in cls.model_fields}
        return {name: lower[variable] for name, variable in names.items() if variable in lower} | given

    @field_validator("classes", mode="before")
    @classmethod
    def _parse_classes(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = re.findall(r"([a-z][a-z0-9]{0,29})=([1-9][0-9]{0,2})(?:,|$)", value)
        if ",".join("=".join(pair) for pair in pairs) != value or len(dict(pairs)) != len(pairs) or not pairs:
            raise ValueError("name classes in lower-case letters and weights from 1 to 999, as interactive=4,bulk=1")
        return dict(pairs)

    @field_validator("downloads_from", mode="before")
    @classmethod
    def _parse_upstreams(cls, value: Any) -> Any:
        pairs = [pair.partition("=")[::2] for pair in value.split(",") if pair] if isinstance(value, str) else None
        found = value if pairs is None else dict(pairs)
        for name, url in found.items():
            if name not in _UPSTREAMS or not re.fullmatch(r"https?://[A-Za-z0-9.:/_~-]+", url):
                raise ValueError(f"write {', '.join(_UPSTREAMS)}, each with an address, as npm=https://npm.example.org")
        return found

    @field_validator("sizes", mode="before")
    @classmethod
    def _parse_sizes(cls, value: Any) -> Any:
        pairs = [pair.partition("=")[::2] for pair in value.split(",") if pair] if isinstance(value, str) else None
        found = value if pairs is None else dict(pairs)
        named = (re.fullmatch(r"(?!standard$)[a-z][a-z0-9]{0,29}", name) for name in found)
        if not all(named) or len(found) < len(pairs or ()) or len(found) > _SIZES_MAX:
            raise ValueError(
                f"name at most {_SIZES_MAX} sizes, each once and in lower-case letters, none of them standard"
            )
        for name, text in found.items():
            parts = text.split("/")
            if not all(map(_SIZE_PART.fullmatch, parts)) or len({part.partition(":")[0] for part in parts}) < len(
                parts
            ):
                raise ValueError(f"write the size {name} as memory:6GiB/cpus:4/disk:16GiB/seconds:1800, or some of it")
        return found

    @field_validator("cell")
    @classmethod
    def _check_cell(cls, value: str) -> str:
        if value in NOT_CELLS:
            raise ValueError(f"a cell cannot be named {value}: the proxy before the cells takes it for its own word")
        return value

    @field_validator("sandbox_network")
    @classmethod
    def _name_network(cls, value: str, info: ValidationInfo) -> str:
        """A farm is a namespace of a Redis. Two farms in one network would overwrite each other's network rules."""
        if value:
            return value
        url = urlsplit(info.data["redis_url"].get_secret_value()) if "redis_url" in info.data else None
        place = url.netloc.rpartition("@")[2] + url.path if url else ""
        farm = hashlib.sha256(f"{info.data.get('namespace')} {place}".encode()).hexdigest()
        return f"{SANDBOX_NETWORK}-{farm[:8]}"

    @field_validator("node_classes", "node_sizes", "tenant_sizes", "sizes_on_demand", mode="before")
    @classmethod
    def _parse_node_classes(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("api_trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: str) -> str:
        networks = [ip_network(part.strip()) for part in value.split(",") if part.strip()]
        if any(network.prefixlen == 0 for network in networks):
            raise ValueError("with a network of all addresses every client could claim any address")
        return ",".join(map(str, networks))

    @model_validator(mode="after")
    def _serves_known_classes(self) -> Settings:
        unknown = self.node_classes - set(self.classes)
        if unknown:
            raise ValueError(f"node_classes names {', '.join(sorted(unknown))}, which is not in classes")
        for name in ("node_sizes", "tenant_sizes", "sizes_on_demand"):
            if unknown := getattr(self, name) - {"standard", *self.sizes}:
                raise ValueError(f"{name} names {', '.join(sorted(unknown))}, which is not in sizes")
        return self

    @property
    def longest_seconds(self) -> float:
        """What a build of any size may take."""
        found = re.findall(r"\bseconds:(\d+)", " ".join(self.sizes.values()))
        return max(self.build_seconds, *map(float, found)) if found else self.build_seconds

    @property
    def grace_seconds(self) -> float:
        """The age below which a build may still need what no manifest names."""
        return max(self.collect_grace_seconds, self.longest_seconds + self.outage_seconds)

    @property
    def signs(self) -> bool:
        """Whether this farm's images are signed before their tags move."""
        return self.signing not in ("", "0") and self.signing in ("1", self.namespace)

    @property
    def served_classes(self) -> dict[str, int]:
        """The classes that this node serves, and their weights."""
        return {name: weight for name, weight in self.classes.items() if name in (self.node_classes or self.classes)}


def read_settings() -> Settings:
    """The settings of this process. Raises SettingsError that names the variable that cannot be read."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = ENV_PREFIX + str(first["loc"][0]).upper() if first["loc"] else "A setting"
        reason = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{name} cannot be read: {reason}.", advice="See docs/settings.md.") from error


def _read_file(path: Path) -> dict[str, str]:
    """Lines of NAME=VALUE; nothing on a machine where the farm never was up. Raises SettingsError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}.", advice="Make it readable, or delete it.") from error
    lines = (line.strip().partition("=") for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, equals, value in lines if equals}
