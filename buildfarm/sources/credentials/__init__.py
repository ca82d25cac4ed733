"""Credentials for private repositories and buildpacks: what is set, what is shown, what a fetch gets. Pure."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import Field

from buildfarm.fields import Frozen, Name

TOKEN_USER = "x-access-token"  # GitHub's name for a token's user; Gitea, Forgejo and GitLab's own tokens take any


class Kind(StrEnum):
    """What a credential opens, and how."""

    SSH_KEY = "ssh-key"  # git over ssh: a private key
    TOKEN = "token"  # git over https: a token or a password
    REGISTRY = "registry"  # buildpacks of another OCI registry: a password or a token of its user
    PUBLIC = "public"  # git over https without a login, to fetch submodules and LFS files of public repositories


class NewCredential(Frozen):
    """A credential as it is set."""

    kind: Kind
    address: str = Field(
        max_length=512,
        description="host, with or without a port and the beginning of a path",
        examples=["git.x.org/me/"],
    )
    value: str = Field("", repr=False, description="the private key, token or password; none if it is public")
    user: str = Field("", max_length=255, description="the token's user; of a registry it must be named")
    host_keys: tuple[str, ...] = Field((), max_length=10, description="ssh: the host's public keys; none: learned once")
    submodules: bool = Field(False, description="fetch the submodules of its repositories too")
    lfs: bool = Field(False, description="fetch the Git LFS files of its repositories too")


class CredentialView(Frozen):
    """A credential as it is shown: its value is not."""

    name: str
    tenant: Name
    app: Name | None = None  # None: for all of the tenant's apps
    kind: Kind
    address: str
    user: str = ""
    host_keys: tuple[str, ...] = ()  # as ssh shows them: SHA256:…
    learned: bool = False  # the host's keys are those of the first connection
    submodules: bool = False
    lfs: bool = False


@dataclass(frozen=True)
class Credential:
    """A credential as a fetch gets it."""

    name: str
    tenant: str
    app: str | None
    kind: Kind
    address: str  # host[:port]/path, the path without its end
    value: str = field(repr=False)  # empty: it cannot be decrypted, unless it is public
    user: str = ""
    host_keys: tuple[str, ...] = ()  # type and base64, as known_hosts has them behind a host's name
    learned: bool = False
    submodules: bool = False
    lfs: bool = False

    @property
    def host(self) -> str:
        """With its port, if that is not the usual one."""
        return self.address.partition("/")[0]

    @property
    def login(self) -> str:
        """Who logs in."""
        return self.user or TOKEN_USER

    @property
    def hidden(self) -> list[str]:
        """What a log must not show."""
        if not self.value:
            return []
        basic = base64.b64encode(f"{self.login}:{self.value}".encode()).decode()
        return [self.value, basic]
