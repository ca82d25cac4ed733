"""The phases detect and compile: buildpacks of the classic API, run in the sandbox (Heroku, "Buildpack API")."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from buildfarm.errors import CompileError, DetectError, TooLargeError
from buildfarm.model import ENV_NAME, ENV_NAMES_MAX
from workers.mask import Mask
from workers.sandbox import CAPTURE_BYTES_MAX, Sandbox
from workers.workspace import Workspace

Log = Callable[[bytes], None]
Check = Callable[[], None]

_BIN = "/usr/lib/buildfarm"
_PROCESS_TYPE = re.compile(r"[A-Za-z0-9_-]{1,63}")
_BUILDPACK = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# What steers a terminal, or ends a string where it is read next; a tab and a line's end do neither.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TYPES_MAX = 50


@dataclass(frozen=True)
class Buildpack:
    """A buildpack that takes the app; ``display`` is what its detect printed."""

    name: str
    display: str


@dataclass(frozen=True)
class Release:
    """What the built app needs to run."""

    process_types: Mapping[str, str] = field(default_factory=dict)  # type to shell command
    config_vars: Mapping[str, str] = field(default_factory=dict)  # become the image's environment


def detect(sandbox: Sandbox, wanted: Sequence[str], *, log: Log, check: Check) -> tuple[Buildpack, ...]:
    """The buildpacks to run: all that are wanted, or the first of the builder's order that takes the app.

    Raises DetectError.
    """
    arguments = ["--all", *wanted] if wanted else []
    ended = sandbox.run([f"{_BIN}/detect", *arguments], log=log, check=check, capture=True)
    if ended.code == 100:
        raise DetectError(
            "No buildpack takes this app.",
            advice="Add a requirements.txt, package.json, index.html or Procfile at the source's top.",
        )
    if ended.code != 0:
        raise DetectError("A buildpack that was asked for cannot be used.", advice="The log's last lines say which.")
    rows = [line.partition("\t") for line in ended.stdout.decode(errors="replace").splitlines()]
    # Whatever runs in the sandbox can write to this output.
    if not rows or any(not _BUILDPACK.fullmatch(name) for name, _, _ in rows):
        raise DetectError("Detection printed something else than names of buildpacks.")
    return tuple(Buildpack(name, display.strip()[:100] or name) for name, _, display in rows)


def compile_app(
    sandbox: Sandbox, buildpacks: Sequence[Buildpack], workspace: Workspace, *, log: Log, check: Check
) -> None:
    """Runs each buildpack's compile in turn, with what the earlier ones export.

    Raises CompileError, and TooLargeError where it failed with its workspace full.
    """
    names = [buildpack.name for buildpack in buildpacks]
    for count, buildpack in enumerate(buildpacks, start=1):
        log(f"-----> {buildpack.display} app\n".encode())
        ended = sandbox.run([f"{_BIN}/compile", *names[:count]], log=log, check=check)
        if ended.code != 0 and workspace.full:
            raise TooLargeError(
                "The build filled its workspace.", advice="Let it write less: app, cache and /tmp share one limit."
            )
        if ended.code != 0:
            raise CompileError(
                f"The buildpack {buildpack.name} failed with exit code {ended.code}.",
                advice="The log's last lines say why.",
            )


def release(sandbox: Sandbox, buildpacks: Sequence[Buildpack], app: Path, *, log: Log, check: Check) -> Release:
    """Process types and variables: those of the last buildpack, and the Procfile's over them. Raises CompileError."""
    ended = sandbox.run([f"{_BIN}/release", buildpacks[-1].name], log=log, check=check, capture=True)
    if ended.code != 0:
        raise CompileError(f"bin/release of the buildpack {buildpacks[-1].name} failed with exit code {ended.code}.")
    defaults = parse_release(ended.stdout, buildpacks[-1].name)
    named = parse_procfile(read_procfile(app))
    return Release({**defaults.process_types, **named}, defaults.config_vars)


def refuse_secrets(release: Release, secrets: Iterable[str]) -> None:
    """What is in a release is in the image, its labels and the record. Raises CompileError where a secret is in it."""
    mask = Mask(secrets)
    for name, value in (*release.process_types.items(), *release.config_vars.items()):
        if mask.finds(value):
            raise CompileError(
                f"{name} holds the value of a secret config var, and everybody who has the image could read it.",
                advice="Let the process read it from its environment when it starts.",
            )


def parse_release(content: bytes, name: str) -> Release:
    """The YAML of bin/release. Raises CompileError where it is not what the contract says."""
    where = f"bin/release of the buildpack {name}"
    try:
        # Text, lists and mappings, and no merge keys: those of the safe loader swell 64 KiB to any size.
        found = yaml.load(content.decode(), Loader=yaml.BaseLoader) or {}
    except RecursionError as error:
        raise CompileError(f"{where} prints YAML that is nested too deep.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise CompileError(f"{where} does not print YAML: {str(error)[:300]}.") from error
    if not isinstance(found, dict):
        raise CompileError(f"{where} prints no YAML mapping.")
    sections: list[dict[str, str]] = []
    for section in ("default_process_types", "config_vars"):
        values = found.get(section) or {}
        if not isinstance(values, dict) or any(isinstance(value, dict | list) for value in values.values()):
            raise CompileError(f"{where}: {section} must map names to text.")
        sections.append({str(key): str(value) for key, value in values.items()})
    types, variables = sections
    types = {name: command for name, command in types.items() if command}
    for key, value in types.items():
        if not _PROCESS_TYPE.fullmatch(key) or _CONTROL.search(value):
            raise CompileError(f"{where}: {key[:80]!r} cannot name a process type, or its command steers a terminal.")
    if len(types) > _TYPES_MAX or len(variables) > ENV_NAMES_MAX:
        raise CompileError(f"{where} names more than {_TYPES_MAX} process types or {ENV_NAMES_MAX} variables.")
    for key in variables:
        if not ENV_NAME.fullmatch(key) or "\0" in variables[key]:
            raise CompileError(f"{where}: {key[:80]!r} cannot name a variable.")
    return Release(types, variables)


def parse_procfile(text: str) -> dict[str, str]:
    """A Procfile's ``type: command`` lines. Raises CompileError that names the first line which is none."""
    types: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, command = (part.strip() for part in line.strip().partition(":"))
        if not _PROCESS_TYPE.fullmatch(name) or not command or _CONTROL.search(command):
            raise CompileError(
                f"Procfile, line {number} is not a process type: {line.strip()[:80]!r}.",
                advice="Write it as `web: command`.",
            )
        types[name] = command
    if len(types) > _TYPES_MAX:
        raise CompileError(f"The Procfile names {len(types)} process types; the limit is {_TYPES_MAX}.")
    return types


def read_procfile(app: Path) -> str:
    """The Procfile's text; empty where there is none. Raises CompileError."""
    try:
        # The customer's code wrote this folder: a link would lead the node to a file of its own.
        descriptor = os.open(app / "Procfile", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return ""
    except OSError as error:
        reason = "is a symbolic link" if error.errno == errno.ELOOP else "cannot be read"
        raise CompileError(f"The Procfile {reason}.", advice="Make it a plain file.") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise CompileError("The Procfile is no plain file.")
        content = os.read(descriptor, CAPTURE_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    if len(content) > CAPTURE_BYTES_MAX:
        raise CompileError("The Procfile is larger than 64 KiB.")
    return content.decode(errors="replace")
