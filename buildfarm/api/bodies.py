"""What travels over HTTP beside the farm's own nouns."""

from __future__ import annotations

from pydantic import ConfigDict, Field, field_validator
from pydantic.config import JsonValue

from buildfarm.buildpacks.address import parse_buildpack
from buildfarm.config_vars.build_variables import BuildVariable
from buildfarm.fields import ClassName, Frozen, HttpUrl, Name
from buildfarm.gc.retention import COUNT_MAX, DAYS_MAX
from buildfarm.model import Build, Buildpacks, BuildRequest, BuildSpec, State
from buildfarm.queue.view import QueuePosition
from buildfarm.sources.address import ArtifactSource
from buildfarm.sources.credentials import NewCredential
from buildfarm.store import LIMIT_MAX

HIDDEN = "***"
AFTER_PATTERN = r"^(\d{1,12}\.\d{1,6}:[A-Za-z0-9_-]{1,64})?$"  # a position in a list of builds

_EXAMPLES: list[JsonValue] = [
    {
        "app": "web",
        "source": {"kind": "git", "url": "https://git.example.org/shop/web.git", "ref": "main"},
        "env": {"NODE_ENV": "production", "NPM_TOKEN": "npm_0123456789"},
        "secrets": ["NPM_TOKEN"],
    },
    {
        "app": "web",
        "source": {"kind": "artifact", "repository": "sources/shop", "digest": f"sha256:{'0' * 64}"},
        "buildpack_order": ["nodejs", "https://git.example.org/shop/buildpack.git#v1"],
        "run_policy": "latest_always",
    },
]


class NewBuild(BuildSpec):
    """What is to be built. The token decides the tenant; only a token for all tenants names it."""

    model_config = ConfigDict(json_schema_extra={"examples": _EXAMPLES})

    tenant: Name | None = Field(None, description="only with a token for all tenants")


class BuildView(Build):
    """A build; values of its config vars are hidden."""

    image: str | None = None  # the reference under which the farm's registry gives it out
    queue_position: QueuePosition | None = None  # in the queue, of a waiting build

    @classmethod
    def of(cls, build: Build, image: str | None, queue_position: QueuePosition | None = None) -> BuildView:
        """The build as others may see it."""
        request = build.request
        if isinstance(request, BuildRequest) and request.env:
            request = request.model_copy(update={"env": dict.fromkeys(request.env, HIDDEN)})
        return cls.model_construct(
            **{**dict(build), "request": request, "image": image, "queue_position": queue_position}
        )


class BuildFilter(Frozen):
    """Which builds a list is of."""

    tenant: Name | None = Field(None, description="only with a token for all tenants")
    app: Name | None = None
    state: list[State] = Field(default_factory=list, description="can be repeated")
    limit: int = Field(50, ge=1, le=200)
    after: str = Field("", pattern=AFTER_PATTERN, description="`next` of the previous page")


class BuildPage(Frozen):
    """A page of builds, the newest first."""

    builds: tuple[BuildView, ...]
    next: str | None = Field(None, description="give it as `after` for the next page; null at the end")
    lost: tuple[str, ...] = Field((), description="sentences: builds of the archive that cannot be shown, and why")


class CancelledView(Frozen):
    """What a cancelled build was found doing. One that ran ends within seconds."""

    id: str
    found: State


class SentSource(Frozen):
    """A source in the farm's registry, to be named in a build."""

    source: ArtifactSource
    sent_bytes: int


class NewLimits(Frozen):
    """Limits to be set; what is left out stays, null goes back to the farm's settings."""

    app: Name | None = Field(None, description="an app of the tenant; it has only the limit `running`")
    running: int | None = Field(None, ge=1, le=LIMIT_MAX)
    waiting: int | None = Field(None, ge=1, le=LIMIT_MAX)
    bytes: int | None = Field(None, ge=1, le=2**50, description="of the tenant in the registry")
    sizes: tuple[ClassName, ...] | None = Field(None, min_length=1, description="that the tenant's builds may have")


class NewRetention(Frozen):
    """A policy to be set; what is left out stays, null goes back to the tenant's or the farm's."""

    app: Name | None = Field(None, description="an app of the tenant; it has no fields for sources")
    images: int | None = Field(None, ge=0, le=COUNT_MAX)
    image_days: float | None = Field(None, ge=0, le=DAYS_MAX)
    sources: int | None = Field(None, ge=0, le=COUNT_MAX)
    source_days: float | None = Field(None, ge=0, le=DAYS_MAX)
    caches: int | None = Field(None, ge=0, le=COUNT_MAX)
    cache_days: float | None = Field(None, ge=0, le=DAYS_MAX)
    records: int | None = Field(None, ge=0, le=COUNT_MAX)
    record_days: float | None = Field(None, gt=0, le=DAYS_MAX)


class NewInUse(Frozen):
    """What a reporter has running, all of it; a report replaces the one before, and an empty one ends it."""

    images: tuple[str, ...] = Field(max_length=800, examples=[[f"apps/shop/web@sha256:{'0' * 64}"]])
    days: float = Field(3, gt=0, le=90, description="how long the report counts, unless a newer one comes")
    reporter: str = Field("orchestrator", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="such as a host's name")


class NewRebase(Frozen):
    """To which base an app's newest image is moved."""

    base: str = Field(
        "",
        max_length=400,
        description="repository:tag, repository@digest, or a digest in the builder's repository;"
        " empty: the base of the app's channel",
        examples=["builder:v2"],
    )
    dry_run: bool = Field(False, description="only answer what would be done")
    older: bool = Field(False, description="also to a base that was made before the app's")


class NewVariables(Frozen):
    """Build variables to be set; null removes one, and what is left out stays."""

    tenant: Name | None = Field(None, description="whose builds get them; null: all of the farm's")
    app: Name | None = Field(None, description="an app of the tenant")
    variables: dict[str, BuildVariable | None] = Field(
        min_length=1, examples=[{"HTTPS_PROXY": {"value": "http://proxy.example.org:3128"}, "NO_PROXY": None}]
    )


class CredentialChange(Frozen):
    """A credential to be set or replaced; null removes it."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$", examples=["deploy-key"])
    tenant: Name | None = Field(None, description="whose it is; a tenant's token may leave it out")
    app: Name | None = Field(None, description="only for this app; null: for all of the tenant's")
    credential: NewCredential | None


class NewChannel(Frozen):
    """To which base a channel points."""

    base: str = Field(
        min_length=1, max_length=400, description="repository:tag or repository@digest", examples=["builder:v2"]
    )
    reason: str = Field("", max_length=500, description="why, for the channel's history and the audit log")


class NewAppChannel(Frozen):
    """The channel that an app is to follow."""

    channel: Name


class AppSize(Frozen):
    """The size of an app's builds that ask for none."""

    size: ClassName = Field(examples=["large"])


class Draining(Frozen):
    """A node that was asked to drain; it reacts within seconds."""

    node: str


class NewOrder(Frozen):
    """The farm's order of buildpacks, each by its commit or digest; empty: the builder's own order."""

    buildpacks: Buildpacks = Field(examples=[["nodejs", f"https://git.example.org/buildpack.git#{'0' * 40}"]])

    @field_validator("buildpacks")
    @classmethod
    def _are_pinned(cls, buildpacks: tuple[str, ...]) -> tuple[str, ...]:
        for name in buildpacks:
            if not parse_buildpack(name).pinned:
                raise ValueError(
                    f"{name} can change: name its commit or digest, as the API asks no other server what it is now"
                )
        return buildpacks


class NewBuilder(Frozen):
    """An image of the farm's registry that is to be the builder."""

    reference: str = Field(max_length=500, examples=["builder:v2"])


class BuilderView(Frozen):
    """The builder, and how far the nodes are with it."""

    builder: str  # repository@digest; empty if the farm has none yet
    nodes_ready: int
    nodes: int  # that live


class NewWebhook(Frozen):
    """The address that a tenant's ended builds are sent to."""

    url: HttpUrl = Field(examples=["https://ci.example.org/buildfarm"])
    rotate: bool = Field(False, description="make a new secret")


class WebhookView(Frozen):
    """A webhook; its secret is shown when it was made, and not again."""

    url: str
    secret: str | None = None


class FarmView(Frozen):
    """What a client must know of the farm."""

    version: str
    registry: str  # host[:port] of its registry
    source_bytes: int  # how large a source may be
    tenant: str | None  # the token's; null: all
    scopes: tuple[str, ...]  # the token's
    signing_keys: tuple[str, ...] = ()  # public keys that images are signed with, in PEM form


class HealthView(Frozen):
    """Whether the API, and what it needs, answers."""

    ok: bool
    redis: bool
    registry: bool
