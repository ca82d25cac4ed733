"""The farm's nouns: what is asked for, what state it is in, and what came of it. All of it frozen."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AliasChoices, Field, field_validator, model_validator

from buildfarm.buildpacks.address import parse_buildpack
from buildfarm.config_vars import ENV_NAMES_MAX, check_env, check_secrets
from buildfarm.fields import ClassName, Frozen, HttpUrl, IdempotencyKey, ImageName, ImageVersion, Name, Sha256
from buildfarm.oci.digest import Digest
from buildfarm.sources.address import ArtifactSource, Source

BUILDPACKS_MAX = 50
EXPIRES_SECONDS_MAX = 7 * 86_400

LATEST = "latest"  # the tag of every app's newest image
STABLE = "stable"  # the channel that apps follow unless they choose another one, and a tag of its base
IMAGES = "images"  # whose the farm's own images are: their tenant, and the first part of their repositories
RESERVED = f"The tenant name {IMAGES} is reserved for the farm's own image builds."


BuildpackName = Annotated[str, AfterValidator(lambda text: str(parse_buildpack(text)))]
Buildpacks = Annotated[tuple[BuildpackName, ...], Field(max_length=BUILDPACKS_MAX)]
WaitSeconds = Annotated[float, Field(gt=0, le=EXPIRES_SECONDS_MAX)]
_MEMO = AliasChoices("cached_result", "memo")  # the latter in records
ReportValue = bool | float | str


class State(StrEnum):
    """Where a build stands. The last four are final."""

    HELD = "held"  # accepted, and waits for its tenant's limit
    QUEUED = "queued"  # waits for a free slot on any node
    RUNNING = "running"  # an attempt holds its lease; the phase is its progress
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


class QueueOptions(Frozen):
    """How a build is queued; the same for every kind of build."""

    build_class: ClassName | None = Field(None, description="one of the farm's classes; null: its first one")
    run_policy: RunPolicy = Field(RunPolicy.LATEST_QUEUED, description="which older builds of the app it supersedes")
    expires_in_seconds: WaitSeconds | None = Field(None, description="fail if it waits longer than this")


class BuildSpec(QueueOptions):
    """Everything about a build that a customer chooses, whether over HTTP, on the command line or in Python."""

    app: Name
    source: Source
    # A build that is read back has their names only: the values are kept encrypted until it ends.
    env: dict[str, str] = Field(default_factory=dict, description="config vars, for the buildpacks; not in the image")
    secrets: Annotated[tuple[str, ...], Field(max_length=ENV_NAMES_MAX)] = Field(
        (), description="names of config vars whose values the log masks"
    )
    size: ClassName | None = Field(None, description="of its sandbox; null: the app's, which is standard unless set")
    buildpacks: Buildpacks = Field((), description="all run, in this order; empty: those the app names, or detected")
    buildpack_order: Buildpacks = Field((), description="detected in this order; empty: the farm's order")
    cached_result: bool = Field(True, validation_alias=_MEMO, description="take the image of an equal build")
    clean: bool = Field(False, description="begin without the app's build cache, and take no image of an equal build")

    @field_validator("env")
    @classmethod
    def _env_is_safe(cls, env: dict[str, str]) -> dict[str, str]:
        return check_env(env)

    @model_validator(mode="after")
    def _secrets_can_be_hidden(self) -> Self:
        check_secrets(self.env, self.secrets)
        return self


class BuildRequest(BuildSpec):
    """What a customer wants built, with whose it is."""

    tenant: Name
    idempotency_key: IdempotencyKey | None = None  # chosen by the tenant: the same key, the same build

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


class ImageRequest(QueueOptions):
    """What an operator asks to be made: one of the farm's own images or build tools, by a recipe instead of an app."""

    image: ImageName  # the recipe's name, or tools/NAME
    version: ImageVersion  # one of those in the recipe; the image's tag
    source: ArtifactSource  # the recipe's folder, or one with the catalogue of tools
    mirror: HttpUrl | None = None  # where a vendor's archive is fetched from instead of its usual address
    sha256: Sha256 | None = None  # of that archive, where the recipe pins none
    idempotency_key: IdempotencyKey | None = None  # chosen by the operator: the same key, the same build

    @property
    def tenant(self) -> str:
        """Image builds share one turn in the queue."""
        return IMAGES

    @property
    def app(self) -> str:
        """Under which the builds of one version are listed and limited: of two versions, neither is the newer one."""
        return f"{self.image.replace('/', '-')}:{self.version}"

    @property
    def repository(self) -> str:
        """Where the image goes, relative to the farm's registry."""
        return self.image if "/" in self.image else f"{IMAGES}/{self.image}"

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
    source: str  # where it came from, pinned; see buildfarm.buildpacks.address
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
    warning: str = ""  # what is wrong with an image that was built nevertheless

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
    channel: str = ""  # that its app followed when it was claimed, and the base that it stands on, repository@digest
    base: str = ""
    submitted_at: float
    started_at: float | None = None
    finished_at: float | None = None
    phases_began: dict[Phase, float] = Field(default_factory=dict)  # of the newest attempt
    cancel_requested: bool = False
    expires_at: float | None = None  # waiting ends here, with a failure
    superseded_by: str | None = None  # the newer build that took its place
    result_of: str | None = None  # the build that made this image; nothing was built for this one
    result: BuildResult | None = None
    failure: Failure | None = None
