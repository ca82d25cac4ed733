"""Files of a build that the node looks at: read as text whatever saved them, and checked before the compile."""

from __future__ import annotations

from dataclasses import replace

from buildfarm.errors import CompileError
from buildfarm.sources.mistakes import in_aptfile, in_requirements
from buildfarm.sources.text import decode_text
from workers.attempt.signals import Log
from workers.build_folder import BuildFolder, NotPlainError
from workers.buildpacks import manifests
from workers.buildpacks.manifests import APP_JSON, AppManifest
from workers.buildpacks.procfile import parse_procfile

FILE_BYTES_MAX = 64 * 1024
# Other tools' files of this name list icons, permissions and more.
APP_JSON_BYTES_MAX = 1024 * 1024
# With hashes they are long; what is longer is left to pip.
_REQUIREMENTS_BYTES_MAX = 4 * 1024 * 1024

# Where one of these is, the buildpack `python` does not read requirements.txt.
_PYTHON_LOCKS = ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml")


def read_manifests(app: BuildFolder, log: Log) -> AppManifest:
    """Read what the app asks for, and check its Procfile too. What is ignored gets a line in the log.

    Raises DetectError and CompileError that name the file.
    """
    ignored: list[str] = []

    def read(name: str) -> str | None:
        try:
            return read_file(app, name, APP_JSON_BYTES_MAX if name == APP_JSON else FILE_BYTES_MAX)
        except CompileError as error:
            if name != APP_JSON:
                raise
            ignored.append(f"{error.message} It is ignored.")
            return None

    found = manifests.read_manifests(read, app.may_have)
    for warning in (*ignored, *found.warnings):
        log(f" !     {warning}\n".encode())
    parse_procfile(read_file(app, "Procfile") or "")
    mistakes = {"apt": in_aptfile(_content(app, "Aptfile", FILE_BYTES_MAX))}
    if not any(map(app.may_have, _PYTHON_LOCKS)):
        mistakes["python"] = in_requirements(_content(app, "requirements.txt", _REQUIREMENTS_BYTES_MAX))
    return replace(found, mistakes={buildpack: error for buildpack, error in mistakes.items() if error is not None})


def _content(app: BuildFolder, name: str, limit_bytes: int) -> bytes:
    """Nothing of a file that is not there, or not to be read here: its buildpack deals with it."""
    try:
        return app.read(app.place_of(name), limit_bytes) or b""
    except NotPlainError:
        return b""


def read_file(app: BuildFolder, name: str, limit_bytes: int = FILE_BYTES_MAX) -> str | None:
    """Read a text file, also through a link that stays in the app. Returns None if there is none.

    Raises CompileError if it is not a plain file of at most ``limit_bytes``, or if it is in an unknown encoding.
    """
    try:
        place = app.place_of(name)
        content = app.read(place, limit_bytes)
    except NotPlainError as error:
        raise CompileError(f"The {name} {error}.", advice="Make it a small plain file.") from error
    if content is None and place != name:
        raise CompileError(
            f"The {name} is a link to {place[:200]}, which is not in the app.", advice="Commit that file."
        )
    try:
        return None if content is None else decode_text(content)
    except ValueError as error:
        raise CompileError(f"The {name} {error}.", advice="Save it as UTF-8.") from error
