"""The farm's nouns: what is asked for, what state it is in, and what came of it. All of it frozen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from buildfarm.buildpack import parse_buildpack
from buildfarm.oci.digest import Digest

ENV_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")
ENV_VALUE_CHARS_MAX = 32_768
ENV_NAMES_MAX = 200
SECRET_CHARS_MIN = 8
# What these name decides how the sandbox itself works; a build may not move it.
ENV_RESERVED = frozenset({"PATH", "HOME", "STACK", "GIT_DIR", "BASH_ENV", "ENV", "CACHE_DIR", "BUILD_DIR", "ENV_DIR"})
ENV_RESERVED_PREFIXES = ("LD_", "DOCKER_", "BUILDFARM_")

ENV_BYTES_MAX = 262_144  # of all config vars together: what waits is kept in the memory of Redis
BUILDPACKS_MAX = 50
EXPIRES_SECONDS_MAX = 7 * 86_400

LATEST = "latest"  # the tag of every app's newest image
IMAGES = "images"  # whose the farm's own images are: their tenant, and the first part of their repositories
RESERVED = f"The tenant name {IMAGES} is reserved for the farm's own image builds."

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
BuildpackName = Annotated[str, AfterValidator(lambda text: str(parse_buildpack(text)))]  # see buildfarm.buildpack
ReportValue = bool | float | str
ImageVersion = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,31}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
GitRef = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}$")]
ClassName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{0,29}$")]
IdempotencyKey = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,255}$")]


def _check_address(url: str) -> str:
    parts = urlsplit(url)
    if not parts.hostname or parts.hostname.startswith("-"):
        raise ValueError("the address names no host")
    if parts.password is not None or (parts.username and parts.scheme.startswith("http")):
        raise ValueError("an address is kept in the record and shown to the build: send no password or token in it")
    return url


HttpUrl = Annotated[
    str, StringConstraints(pattern=r"^https?://[^\s]+$", max_length=2048), AfterValidator(_check_address)
]
GitUrl = Annotated[
    str, StringConstraints(pattern=r"^(https?|ssh|git)://[^\s]+$", max_length=2048), AfterValidator(_check_address)
]


class State(StrEnum):
    """Where a build stands. The last four are final."""

    HELD = "held"  # accepted, and waits for its tenant's limit
    QUEUED = "queued"  # waits for a free slot on any node
    RUNNING = "running"  # an attempt holds its lease; the phase tells how far it is
    SUCCEEDED = "succeeded"  # its image is in the registry; the result is written
    FAILED = "failed"  # it will not be tried again; the failure is written
    CANCELLED = "cancelled"  # its owner ended it; nothing was published
    SUPERSEDED = "superseded"  # a newer build of the same app took its place before it was published

    @property
    def final(self) -> bool:
        """No change comes after this state."""
        return not TRANSITIONS[self]


# Repeated by the Lua scripts in buildfarm/store/scripts; tests/integration/test_store_machine.py compares the two.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.HELD: frozenset({State.QUEUED, State.CANCELLED, State.SUPERSEDED, State.FAILED}),
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED, State.SUPERSEDED, State.FAILED}),
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.SUPERSEDED, State.QUEUED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
    State.SUPERSEDED: frozenset(),
}


class Phase(StrEnum):
    """The steps of a running build, in their order."""

    PREPARE = "prepare"  # a sandbox, and the source in its workspace
    DETECT = "detect"  # which buildpacks take the app
    COMPILE = "compile"  # the buildpacks run; of an image build: the recipe's packages become a tree
    SMOKE = "smoke"  # an image build alone: its smoke test runs
    EXPORT = "export"  # layers, config and manifest go to the registry
    PUBLISH = "publish"  # the tag moves and the record says so


FARM_PHASES = (Phase.PREPARE, Phase.EXPORT, Phase.PUBLISH)  # the farm's own time; the others are the app's


class Fault(StrEnum):
    """Whose a failure is."""

    APP = "app"  # the same source would fail again
    FARM = "farm"  # another attempt may succeed


class RunPolicy(StrEnum):
    """What a newer build does to older ones that publish the same thing, and what newer ones may do to it."""

    ALL = "all"  # every build is built; it takes no other's place and none takes its
    LATEST_QUEUED = "latest_queued"  # it takes the place of those that still wait
    LATEST_ALWAYS = "latest_always"  # and also ends the one that runs


class Frozen(BaseModel):
    """Base of everything that travels: immutable, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ArtifactSource(Frozen):
    """A packed directory in the farm's registry, by the digest of its OCI manifest."""

    kind: Literal["artifact"] = "artifact"
    repository: str
    digest: Digest

    @property
    def version(self) -> str:
        """What the build sees as SOURCE_VERSION."""
        return self.digest.hex


class GitSource(Frozen):
    """A commit of a git repository: ``ref`` is a branch, a tag or a full commit id."""

    kind: Literal["git"] = "git"
    url: GitUrl
    ref: GitRef = "HEAD"

    @property
    def version(self) -> str:
        """What the build sees as SOURCE_VERSION."""
        return self.ref


class ArchiveSource(Frozen):
    """A tar archive (plain, gzip or xz) at a URL; its bytes must have the SHA-256 that was promised."""

    kind: Literal["archive"] = "archive"
    url: HttpUrl
    sha256: Sha256

    @property
    def version(self) -> str:
        """What the build sees as SOURCE_VERSION."""
        return self.sha256


Source = Annotated[ArtifactSource | GitSource | ArchiveSource, Field(discriminator="kind")]


class Delivery(Frozen):
    """How a request is queued; the same for every kind of build."""

    build_class: ClassName | None = None  # one of the setting `classes`; None: its first
    run_policy: RunPolicy = RunPolicy.LATEST_QUEUED
    idempotency_key: IdempotencyKey | None = None  # of the tenant's own making: the same key, the same build
    expires_in_seconds: Annotated[float, Field(gt=0, le=EXPIRES_SECONDS_MAX)] | None = None  # waits no longer than this


class BuildRequest(Delivery):
    """What a customer wants built."""

    tenant: Name
    app: Name
    source: Source
    # Config vars, for the buildpacks' ENV_DIR; not in the image. A build that is read back has their names only: the
    # values are kept encrypted until it ends.
    env: dict[str, str] = Field(default_factory=dict)
    secrets: Annotated[tuple[str, ...], Field(max_length=ENV_NAMES_MAX)] = ()  # of these the log shows no value
    # in this order, all of them; empty: the app says, or the farm detects
    buildpacks: Annotated[tuple[BuildpackName, ...], Field(max_length=BUILDPACKS_MAX)] = ()
    # detected in this order; empty: the builder's own order
    buildpack_order: Annotated[tuple[BuildpackName, ...], Field(max_length=BUILDPACKS_MAX)] = ()
    memo: bool = True  # an equal input that was built before gives that image; False: it is built all the same

    @field_validator("env")
    @classmethod
    def _env_is_safe(cls, env: dict[str, str]) -> dict[str, str]:
        return check_env(env)

    @model_validator(mode="after")
    def _secrets_can_be_hidden(self) -> Self:
        check_secrets(self.env, self.secrets)
        return self

    @property
    def repository(self) -> str:
        """Where the image goes, relative to the farm's registry."""
        return f"apps/{self.tenant}/{self.app}"

    @property
    def tag(self) -> str:
        """The tag that the newest image gets."""
        return LATEST

    @property
    def target(self) -> str:
        """What the build publishes: the name under which the store keeps the newest digest."""
        return self.repository


class ImageRequest(Delivery):
    """What an operator wants built: an image of the farm's own, from a recipe in place of an app."""

    image: Name  # the recipe's name
    version: ImageVersion  # one of those in the recipe; the image's tag
    source: ArtifactSource  # the recipe's folder
    mirror: HttpUrl | None = None  # where a vendor's archive is taken from in place of its own address
    sha256: Sha256 | None = None  # of that archive, where the recipe pins none

    @property
    def tenant(self) -> str:
        """Image builds share one turn in the queue."""
        return IMAGES

    @property
    def app(self) -> str:
        """Under which the builds of one version are listed and limited: of two versions, neither is the newer one."""
        return f"{self.image}:{self.version}"

    @property
    def repository(self) -> str:
        """Where the image goes, relative to the farm's registry."""
        return f"{IMAGES}/{self.image}"

    @property
    def tag(self) -> str:
        """The tag that the newest image gets."""
        return self.version

    @property
    def target(self) -> str:
        """What the build publishes: versions stand side by side, each under its own tag."""
        return f"{self.repository}:{self.version}"


Request = BuildRequest | ImageRequest


def place_of(target: str) -> tuple[str, str]:
    """Repository and tag of a request's ``target``."""
    repository, _, version = target.partition(":")
    return repository, version or LATEST


class Layer(Frozen):
    """One layer of an image."""

    digest: Digest  # of the compressed bytes in the registry
    diff_id: Digest  # of the uncompressed tar
    size_bytes: int  # compressed
    uncompressed_bytes: int | None = None  # not known of the builder's layers
    origin: str  # "builder", "app", "image"
    reused: bool = False  # was in the registry already: nothing was uploaded


class UsedBuildpack(Frozen):
    """A buildpack that took part in a build."""

    name: str
    kind: Literal["classic", "cnb"]
    source: str  # where it came from, pinned; see buildfarm.buildpack
    digest: Digest  # of its files
    version: str = ""
    report: dict[str, ReportValue] = Field(default_factory=dict)  # what its bin/report says


class BuildResult(Frozen):
    """A built image and what it cost."""

    repository: str  # relative to the farm's registry, which nodes and users may reach under different addresses
    digest: Digest  # of the image's manifest
    tag: str
    layers: tuple[Layer, ...]  # from the bottom up
    process_types: dict[str, str] = Field(default_factory=dict)
    buildpacks: tuple[UsedBuildpack, ...] = ()
    formation: dict[str, int] = Field(default_factory=dict)  # process type to how many, as the app's manifest asks
    packages: tuple[str, ...] = ()  # of an image build: name=version of all whose files are in the image
    uploaded_bytes: int  # layer bytes that really travelled
    phase_seconds: dict[Phase, float]
    node: str
    attempt: int

    @property
    def farm_seconds(self) -> float:
        """The farm's own time: all phases but those that run the customer's code."""
        return sum(self.phase_seconds.get(phase, 0.0) for phase in FARM_PHASES)


class Failure(Frozen):
    """Why a build ended without an image."""

    code: str
    fault: Fault
    phase: Phase | None
    message: str
    advice: str = ""
    log_tail: tuple[str, ...] = ()
    reports: dict[str, dict[str, ReportValue]] = Field(default_factory=dict)  # buildpack to what its bin/report says


class Build(Frozen):
    """A build's record. Times are seconds since the epoch, by the store's clock."""

    id: str
    request: Request
    build_class: str = ""
    state: State
    attempt: int = 0  # of this number; with the claim's token it is what every write of a worker presents
    phase: Phase | None = None
    node: str | None = None
    submitted_at: float
    started_at: float | None = None
    finished_at: float | None = None
    phases_began: dict[Phase, float] = Field(default_factory=dict)  # of the newest attempt
    cancel_requested: bool = False
    expires_at: float | None = None  # waiting ends here, with a failure
    superseded_by: str | None = None  # the newer build that took its place
    memo_of: str | None = None  # the build that made this image; nothing was built for this one
    result: BuildResult | None = None
    failure: Failure | None = None


class LogLine(Frozen):
    """One line of a build's log; ``position`` is where to go on reading after it."""

    position: str
    attempt: int
    phase: Phase
    text: str


class Event(Frozen):
    """A change of a build's state. Of a request that came as a message and was refused: state `refused`, and why."""

    position: str  # where to go on reading after it; grows
    build: str
    state: State | Literal["refused"]
    tenant: str = ""
    app: str = ""
    build_class: str = ""
    attempt: int = 0
    node: str = ""
    superseded_by: str = ""
    reason: str = ""


class Limits(Frozen):
    """What a tenant may have at once, and each of its apps."""

    tenant_running: int  # builds that run or are about to
    tenant_waiting: int  # builds that wait; beyond it submit is refused
    app_running: int


class Place(Frozen):
    """Where a waiting build stands."""

    position: int  # it starts at the latest as this one of its class, if no other tenant comes
    wait_seconds: float | None  # expected until it starts; None where no build of its class started lately


class QueueRow(Frozen):
    """How a class of builds stands, or one tenant's part of it."""

    build_class: str
    tenant: str = ""  # empty: all tenants
    held: int
    queued: int
    running: int
    oldest_seconds: float | None  # for how long the oldest one waits
    started: int  # in the last minutes
    share: float = 1.0  # of all starts of the class in the last minutes


class QueueView(Frozen):
    """The whole queue: a row for each class, and those of the tenants with the oldest builds."""

    minutes: int  # what `started` and `share` look back to
    classes: tuple[QueueRow, ...]
    tenants: tuple[QueueRow, ...]


class NodeState(StrEnum):
    """Whether a build node takes builds."""

    READY = "ready"  # it takes builds
    CLOSED = "closed"  # it takes none for now; its reason says why, and it opens again by itself
    DRAINING = "draining"  # it takes none any more, ends those it has, and leaves
    GONE = "gone"  # it gave no sign of life for a while; its builds run elsewhere


class Node(Frozen):
    """A build node's heartbeat."""

    id: str
    version: str = ""  # of the farm's code on it
    state: NodeState
    reason: str = ""  # why it takes no builds
    slots: int
    builds: tuple[str, ...] = ()  # ids of those that run on it
    builder: str = ""  # digest of the builder that its next build gets
    disk_free_bytes: int = 0
    seen_at: float = 0.0  # by the store's clock

    @property
    def accepting(self) -> bool:
        """Whether it takes builds."""
        return self.state is NodeState.READY

    @property
    def busy(self) -> int:
        """How many of its slots are in use."""
        return len(self.builds)


def check_env(env: dict[str, str]) -> dict[str, str]:
    """The config vars as they came; ValueError names the first one that cannot be taken."""
    total_bytes = sum(len(name) + len(value.encode(errors="replace")) for name, value in env.items())
    if total_bytes > ENV_BYTES_MAX:
        raise ValueError(f"the config vars have {total_bytes:,} bytes: the limit is {ENV_BYTES_MAX:,}")
    if len(env) > ENV_NAMES_MAX:
        raise ValueError(f"{len(env)} config vars are too many: the limit is {ENV_NAMES_MAX}")
    for name, value in env.items():
        if not ENV_NAME.fullmatch(name):
            raise ValueError(
                f"{name[:80]!r} cannot name a config var: use letters, digits and _, and start with a letter"
            )
        if name in ENV_RESERVED or name.startswith(ENV_RESERVED_PREFIXES):
            raise ValueError(f"{name} is the farm's own variable: give the config var another name")
        if len(value) > ENV_VALUE_CHARS_MAX or "\0" in value:
            raise ValueError(f"the value of {name} is longer than {ENV_VALUE_CHARS_MAX} characters or holds a NUL")
    return env


def check_secrets(env: Mapping[str, str], secrets: Iterable[str]) -> None:
    """Raises ValueError that names the first secret which is no config var, or too short to be told from other text."""
    for name in secrets:
        if name not in env:
            raise ValueError(f"{name[:80]!r} is marked as a secret, and is no config var")
        if env[name] and len(env[name]) < SECRET_CHARS_MIN:
            raise ValueError(f"the secret {name} has fewer than {SECRET_CHARS_MIN} characters: it cannot be hidden")
