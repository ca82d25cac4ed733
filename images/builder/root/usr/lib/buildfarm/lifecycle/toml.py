"""TOML, read with errors that name the file and line, and written in the plainest form that is TOML (toml.io, v1.0)."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any

from lifecycle.failure import LifecycleError

BYTES_MAX = 1024 * 1024


def read(path: Path, code: int, told: str) -> dict[str, Any]:
    """A file's tables; nothing if there is no file. Raises LifecycleError with ``code`` that names ``told``."""
    try:
        with path.open("rb") as file:
            content = file.read(BYTES_MAX + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise LifecycleError(code, f"{told} cannot be read: {error.strerror}.") from error
    if len(content) > BYTES_MAX:
        raise LifecycleError(code, f"{told} is larger than 1 MiB.")
    try:
        return tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LifecycleError(code, f"{told} is not TOML: {error}.") from error


def write(tables: Mapping[str, Any]) -> str:
    """One key a line, everything below it inline."""
    return "".join(f"{_text(key)} = {_value(value)}\n" for key, value in tables.items())


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(str(key))} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return repr(value)


def _text(value: str) -> str:
    """JSON's string is TOML's, but for the one control character that JSON does not escape."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
