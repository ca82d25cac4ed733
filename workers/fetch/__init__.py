"""The phase prepare's second half: a source becomes the content of /app, inside the sandbox.

The node itself carries only what the farm's own registry holds. Addresses that customers give are fetched by the
sandbox: untrusted requests belong in its network.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from typing import Protocol

from buildfarm.config_vars.build_variables import CERTIFICATES, FILES, BuildVariables
from buildfarm.errors import NodeError, SourceError, TooLargeError
from buildfarm.oci.connection import NotInRegistryError, OtherContentError
from buildfarm.oci.manifest import Descriptor
from buildfarm.oci.registry import Registry
from buildfarm.oci.retry import once_seen
from buildfarm.sources.address import ArchiveSource, ArtifactSource, GitSource, Source
from buildfarm.sources.credentials.matching import advice_for, needs_one
from buildfarm.sources.remarks import remarks
from workers.build_folder import BuildFolder, NotPlainError
from workers.sandbox.container import Ended, Sandbox, WrongLengthError
from workers.sandbox.spec import CA_VARIABLES

_BIN = "/usr/lib/buildfarm"
_COMMIT = re.compile(rb"^Commit ([0-9a-f]{40,64})$", re.MULTILINE)  # as fetch-git says it
_NO_SPACE = 73
_TOO_LARGE = 74
_NO_FOLDER = 3
_READ_BYTES_MAX = 64 * 1024

# The folder keeps its place on the disk; a copy would take its size twice.
_ENTER = """
# An older builder unpacks folders read-only if they were: they can be neither moved nor removed.
find /app -type d ! -perm -u=rwx -exec chmod u+rwx {} \\;
inside=$(realpath -e -- "$1") || exit 3
[ "$inside" = "/app/$(realpath -ms --relative-to=/app -- "$1")" ] || exit 3  # no link on the way
[ -d "$inside" ] || exit 3
hidden=/app/.project-$RANDOM$RANDOM
mv -T -- "$inside" "$hidden"
find /app -mindepth 1 -maxdepth 1 ! -path "$hidden" -exec rm -rf -- {} +
find "$hidden" -mindepth 1 -maxdepth 1 -exec mv -t /app -- {} +
rmdir "$hidden"
"""


# All that the sandbox trusts anyway, and what came.
_TRUST = f"""
cd {FILES}
if [ -f {CERTIFICATES} ]; then
  usual=${{SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}}
  : >.all
  if [ -f "$usual" ]; then cat "$usual" >.all; fi
  echo >>.all
  cat {CERTIFICATES} >>.all
  mv .all {CERTIFICATES}
fi
"""


@dataclass(frozen=True)
class SourceLimits:
    """How large a source may be; kept while it comes in."""

    packed_bytes: int
    unpacked_bytes: int
    entries: int

    def of(self, unpacked_bytes: int) -> SourceLimits:
        """The same for a workspace of this size."""
        return replace(self, unpacked_bytes=unpacked_bytes)


class Fetched(Protocol):
    """What a fetching sandbox has fetched."""

    @property
    def version(self) -> str: ...
    @property
    def pieces(self) -> Iterator[bytes]: ...


class Private(Protocol):
    """Fetches with credentials: `workers.fetch.private`."""

    def has(self, url: str) -> bool: ...
    def repeatable(self, asked: Iterable[str], used: Iterable[str]) -> bool: ...
    def fetched(self, url: str, ref: str) -> AbstractContextManager[Fetched]: ...


def fetch(
    source: Source, registry: Registry, sandbox: Sandbox, limits: SourceLimits, private: Private | None = None
) -> str:
    """Fills /app, and returns what the build sees as SOURCE_VERSION: of a git repository the commit.

    What a credential is for is fetched by ``private``, in another sandbox.
    Raises SourceError, TooLargeError, RegistryError, and what the sandbox raises.
    """
    version = source.version
    unpacked = [str(limits.unpacked_bytes), str(limits.entries)]
    match source:
        case ArtifactSource():
            blob = _blob(source, registry, limits.packed_bytes)
            pieces = registry.get_blob(source.repository, blob.digest, limit_bytes=limits.packed_bytes)
            command = [f"{_BIN}/unpack", "1", *unpacked]
            try:
                ended = sandbox.run_part(command, stdin=pieces, stdin_bytes=blob.size)
            except WrongLengthError as error:
                raise _not_packed(
                    source, f"it does not have the {blob.size:,} bytes that its manifest names"
                ) from error
        case GitSource() if private is not None and private.has(source.url):
            with private.fetched(source.url, source.ref) as fetched:
                version = fetched.version
                sandbox.log(f"Commit {version}\n".encode())
                ended = sandbox.run([f"{_BIN}/unpack", "1", *unpacked], stdin=fetched.pieces)
        case GitSource() if needs_one(source.url):
            raise SourceError(f"{source.url} needs a credential, and there is none.", advice=advice_for(source.url))
        case GitSource():
            ended = sandbox.run([f"{_BIN}/fetch-git", source.url, source.ref], capture=True)
            sandbox.log(ended.stdout)
            if told := _COMMIT.search(ended.stdout):
                version = told[1].decode()
        case ArchiveSource():
            command = [f"{_BIN}/fetch-archive", source.url, source.sha256, str(limits.packed_bytes), *unpacked]
            ended = sandbox.run(command)
    _judge(ended, source)
    return version


def names_of(app: BuildFolder, sandbox: Sandbox, source: Source) -> frozenset[str]:
    """The names of what came in, in /app's folder; the log gets a line about what of the source is missing.

    Raises NodeError and TooLargeError.
    """

    def read(path: str) -> bytes:
        try:
            return app.read(path, _READ_BYTES_MAX) or b""
        except NotPlainError:
            return b""

    found = app.scan().found
    for remark in remarks(found, read, app.link_target, fetched=isinstance(source, GitSource)):
        sandbox.log(f" !     {remark}\n".encode())
    return frozenset(item.name for item in found)


def enter(directory: str, sandbox: Sandbox) -> None:
    """Makes a folder of the source the whole of it (Scalingo's PROJECT_DIR): what is beside it is gone.

    Raises SourceError if there is no such folder, and what the sandbox raises.
    """
    ended = sandbox.run(["bash", "-euc", _ENTER, "enter", directory])
    if ended.code not in (0, _NO_FOLDER):
        raise SourceError(
            f"The folder {directory[:200]!r}, which PROJECT_DIR names, could not be moved.",
            advice="The log's last lines say why.",
        )
    if ended.code != 0:
        raise SourceError(
            f"PROJECT_DIR names {directory[:200]!r}, which is not a folder of the source.",
            advice="Give a path relative to the source's root, without a link in it.",
        )


def write_config_vars(variables: Mapping[str, str], sandbox: Sandbox) -> None:
    """Each config var as a file of /platform/env, its value without a newline added (Heroku, Buildpack API)."""
    if not variables:
        return
    command = ["tar", "--extract", "--no-same-owner", "--directory", "/platform/env"]
    packed = _packed(variables)
    ended = sandbox.run_part(command, stdin=[packed], stdin_bytes=len(packed))
    if ended.code != 0:
        raise TooLargeError("The config vars are larger than 16 MiB.", advice="Keep files in the source.")


def with_build_variables(variables: BuildVariables, sandbox: Sandbox) -> Sandbox:
    """The same sandbox, whose steps have the build variables in their environment and the files that these name.

    Raises NodeError, and what the sandbox raises.
    """
    environment, files = variables.environment, variables.files
    if files:
        command = ["bash", "-c", f"set -eu; tar --extract --no-same-owner --directory {FILES}; {_TRUST}"]
        packed = _packed(files)
        if sandbox.run_part(command, stdin=[packed], stdin_bytes=len(packed)).code != 0:
            raise NodeError("The files of the build variables could not be written.")
    if files.get(CERTIFICATES):
        environment = {**dict.fromkeys(CA_VARIABLES, environment[CERTIFICATES]), **environment}
    return sandbox.with_variables(environment)


def _packed(files: Mapping[str, str]) -> bytes:
    """Files by their names, as a tar archive."""
    archive = BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, value in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(value.encode()), 0o600
            tar.addfile(info, BytesIO(value.encode()))
    return archive.getvalue()


def _blob(source: ArtifactSource, registry: Registry, limit_bytes: int) -> Descriptor:
    try:
        read = partial(registry.read_manifest, source.repository, source.digest)
        blob = once_seen(read, NotInRegistryError)[0].layers[0]
    except NotInRegistryError as error:
        raise SourceError(
            f"The source {source.digest} is not in the registry.", advice="Send it again: buildfarm build DIRECTORY."
        ) from error
    except (OtherContentError, ValueError, IndexError) as error:
        raise _not_packed(source, str(error)) from error
    if blob.size > limit_bytes:
        raise TooLargeError(f"The source has {blob.size:,} bytes; the limit is {limit_bytes:,}.")
    return blob


def _not_packed(source: ArtifactSource, reason: str) -> SourceError:
    return SourceError(f"The source {source.digest} is not a packed directory: {reason}.")


def _judge(ended: Ended, source: Source) -> None:
    if ended.code == _NO_SPACE:
        raise TooLargeError("The source does not fit into the build's workspace.", advice="Leave out large files.")
    if ended.code == _TOO_LARGE:
        raise TooLargeError(
            "The source is larger than the farm allows: packed, unpacked, or by its number of files.",
            advice="Leave out large files.",
        )
    if ended.code != 0:
        what = {"artifact": "unpacked", "git": "cloned", "archive": "fetched and unpacked"}[source.kind]
        raise SourceError(f"The source could not be {what}.", advice="The log's last lines say why.")
