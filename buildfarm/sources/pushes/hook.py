"""A push hook: which pushes of a repository build which app. Pure."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from buildfarm.fields import Frozen, GitRef, HttpUrl, Name
from buildfarm.sources.address import GitUrl
from buildfarm.sources.pushes.paths import check_pattern

HOURS_MAX = 90 * 24
APP_CHARS_MAX = 20  # of an app with previews: -pr-12345 and it make a name of at most 30
_FOLDER = re.compile(r"[^\x00-\x1f]{1,500}")


def _check_folder(text: str) -> str:
    parts = text.split("/")
    if text and (not _FOLDER.fullmatch(text) or ".." in parts or "" in parts or "." in parts):
        raise ValueError("a project directory is a relative path such as services/web")
    return text


Pattern = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(check_pattern)]


class Provider(StrEnum):
    """Whose format the requests have."""

    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"  # and Forgejo
    BITBUCKET = "bitbucket"  # Bitbucket Cloud


class HookTerms(Frozen):
    """What a hook is to do."""

    app: Name
    provider: Provider
    repository: GitUrl = Field(description="the address that builds clone, without a password or token")
    branch: GitRef = Field("main", description="pushes to it are built")
    paths: Annotated[tuple[Pattern, ...], Field(max_length=50)] = Field(
        (),
        description="build only if a changed file matches; !PATTERN leaves out; empty: those of the project directory",
    )
    project_dir: Annotated[str, AfterValidator(_check_folder)] = Field("", description="the builds' PROJECT_DIR")
    run_policy: Literal["all", "latest_queued", "latest_always"] = Field(
        "latest_queued", description="which older builds of the app a newer one supersedes"
    )
    pull_requests: bool = Field(False, description="build pull requests as apps of their own, APP-pr-NUMBER")
    forks: bool = Field(False, description="also those of forks, whose authors can then read what builds can read")
    preview_hours: float = Field(72, gt=0, le=HOURS_MAX, description="such an app ends so long after its last push")
    api: HttpUrl | None = Field(None, description="the forge's API for commit statuses; null: as the address says")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.pull_requests and len(self.app) > APP_CHARS_MAX:
            raise ValueError(f"the name of an app with pull requests has at most {APP_CHARS_MAX} characters")
        if self.forks and not self.pull_requests:
            raise ValueError("forks are built only with pull_requests")
        if self.forks and self.provider is Provider.BITBUCKET:
            raise ValueError("commits of forks cannot be fetched from Bitbucket: leave forks out")
        if self.paths and self.provider is Provider.BITBUCKET:
            raise ValueError("Bitbucket does not say which files a push changes: leave paths out")
        return self


class NewHook(HookTerms):
    """A hook that is to be made."""

    tenant: Name | None = Field(None, description="only with a token for all tenants")
    page: HttpUrl | None = Field(None, description="this farm as its users reach it; null: as the request reached it")
    status_token: Annotated[str, StringConstraints(max_length=4096, pattern=r"^[\x21-\x7e]*$")] = Field(
        "", repr=False, description="a token of the forge that may set commit statuses"
    )

    @model_validator(mode="after")
    def _names_no_ref(self) -> Self:
        if "#" in self.repository:
            raise ValueError("the repository's address names no ref: leave out what is behind the #")
        return self


class Hook(HookTerms):
    """A hook as it is kept; the secret and the token are kept beside it, encrypted."""

    id: str
    tenant: Name
    page: str  # without a slash at the end
    made_at: float
    has_token: bool = False  # commit statuses are sent

    @property
    def filters(self) -> tuple[str, ...]:
        """The patterns that count."""
        if self.paths or not self.project_dir or self.provider is Provider.BITBUCKET:
            return self.paths
        return (re.sub(r"([*?!\[\\])", r"\\\1", self.project_dir) + "/**",)

    def preview(self, number: int) -> str:
        """The app of a pull request."""
        return f"{self.app}-pr-{number}"

    @property
    def address(self) -> str:
        """Where the forge is to send its requests."""
        return f"{self.page}/v1/hooks/{self.id}"


class HookView(Hook):
    """A hook as it is shown."""

    url: str = Field("", description="where the forge is to send its requests")
    secret: str | None = Field(None, description="shown once, when the hook is made")
    last: str = Field("", description="what became of the newest delivery")
    last_at: float | None = None


def api_of(hook: Hook) -> str:
    """The forge's API, without a slash at the end."""
    if hook.api is not None:
        return hook.api.rstrip("/")
    host = urlsplit(hook.repository).hostname or ""
    if hook.provider is Provider.GITHUB:
        return "https://api.github.com" if host in ("github.com", "ssh.github.com") else f"https://{host}/api/v3"
    if hook.provider is Provider.BITBUCKET:
        return "https://api.bitbucket.org/2.0"
    return f"https://{host}/api/{'v4' if hook.provider is Provider.GITLAB else 'v1'}"
