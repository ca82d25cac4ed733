"""Config vars: which names and values a build accepts, and which of them the log can hide."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

ENV_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")
ENV_VALUE_CHARS_MAX = 32_768
ENV_NAMES_MAX = 200
SECRET_CHARS_MIN = 8
# What these name decides how the sandbox itself works; a build may not move it.
ENV_RESERVED = frozenset({"PATH", "HOME", "STACK", "GIT_DIR", "BASH_ENV", "ENV", "CACHE_DIR", "BUILD_DIR", "ENV_DIR"})
ENV_RESERVED_PREFIXES = ("LD_", "DOCKER_", "BUILDFARM_")

ENV_BYTES_MAX = 262_144  # of all config vars together: what waits is kept in the memory of Redis


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
                f"{name[:80]!r} is not a valid name of a config var: use letters, digits and _, and start with a letter"
            )
        if name in ENV_RESERVED or name.startswith(ENV_RESERVED_PREFIXES):
            raise ValueError(f"{name} is reserved for the farm: give the config var another name")
        if len(value) > ENV_VALUE_CHARS_MAX or "\0" in value:
            raise ValueError(f"the value of {name} is longer than {ENV_VALUE_CHARS_MAX} characters or contains a NUL")
    return env


def check_secrets(env: Mapping[str, str], secrets: Iterable[str]) -> None:
    """Raises ValueError that names the first secret that is not a config var, or too short to be redacted safely."""
    for name in secrets:
        if name not in env:
            raise ValueError(f"{name[:80]!r} is marked as a secret, but is not a config var")
        if env[name] and len(env[name]) < SECRET_CHARS_MIN:
            raise ValueError(f"the secret {name} has fewer than {SECRET_CHARS_MIN} characters: it cannot be hidden")
