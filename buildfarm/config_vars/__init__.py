"""Config vars: which names and values a build accepts, and which of them the log can hide."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# Every name that a POSIX shell allows and that fits a file name. None is reserved: the sandbox keeps those that would
# steer its own programs away from them (images/builder/root/usr/lib/buildfarm/environment).
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
ENV_VALUE_CHARS_MAX = 32_768
# NAME=VALUE and its NUL: Linux starts no program with a longer string in its environment (MAX_ARG_STRLEN).
_STRING_BYTES_MAX = 131_072
ENV_NAMES_MAX = 200
SECRET_CHARS_MIN = 8
PROJECT_DIR = "PROJECT_DIR"  # names the folder of the source that is the app, with Scalingo's conventions

ENV_BYTES_MAX = 262_144  # of all config vars together: what waits is kept in the memory of Redis


def check_env(env: dict[str, str]) -> dict[str, str]:
    """Return the config vars as they came. Raises ValueError that names the first one that cannot be accepted."""
    total_bytes = sum(len(name) + len(value.encode(errors="replace")) for name, value in env.items())
    if total_bytes > ENV_BYTES_MAX:
        raise ValueError(f"the config vars have {total_bytes:,} bytes: the limit is {ENV_BYTES_MAX:,}")
    if len(env) > ENV_NAMES_MAX:
        raise ValueError(f"{len(env)} config vars are too many: the limit is {ENV_NAMES_MAX}")
    for name, value in env.items():
        if not ENV_NAME.fullmatch(name):
            raise ValueError(
                f"{name[:80]!r} is not a valid name of a config var: "
                "use letters, digits and _, and start with a letter or _"
            )
        _check_value(name, value)
    return env


def _check_value(name: str, value: str) -> None:
    if "\0" in value:
        raise ValueError(f"the value of {name} contains a NUL")
    try:
        size_bytes = len(name) + len(value.encode()) + len("=\0")
    except UnicodeEncodeError as error:
        raise ValueError(f"the value of {name} is not UTF-8: encode it, for example with base64") from error
    if len(value) > ENV_VALUE_CHARS_MAX or size_bytes > _STRING_BYTES_MAX:
        raise ValueError(
            f"the value of {name} is too long: the limit is {ENV_VALUE_CHARS_MAX} characters, "
            f"and {_STRING_BYTES_MAX} bytes with its name"
        )


def check_secrets(env: Mapping[str, str], secrets: Iterable[str]) -> None:
    """Raises ValueError that names the first secret that is not a config var, or too short to be redacted safely."""
    for name in secrets:
        if name not in env:
            raise ValueError(f"{name[:80]!r} is marked as a secret, but is not a config var")
        if env[name] and len(env[name]) < SECRET_CHARS_MIN:
            raise ValueError(f"the secret {name} has fewer than {SECRET_CHARS_MIN} characters: it cannot be hidden")
