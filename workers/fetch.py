"""The phase prepare's second half: a source becomes the content of /app, inside the sandbox.

The node itself carries only what the farm's own registry holds. Addresses that customers give are fetched by the
sandbox: its network is where strangers' requests belong.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO

from buildfarm.errors import SourceError, TooLargeError
from buildfarm.model import ArchiveSource, ArtifactSource, GitSource, Source
from buildfarm.oci.connection import NotInRegistryError, OtherContentError
from buildfarm.oci.manifest import Descriptor, Manifest
from buildfarm.oci.registry import Registry
from workers.sandbox import Ended, Sandbox

_BIN = "/usr/lib/buildfarm"
_NO_SPACE = 73
_TOO_LARGE = 74

Log = Callable[[bytes], None]
Check = Callable[[], None]


@dataclass(frozen=True)
class SourceLimits:
    """How large a source may be; kept while it comes in."""

    packed_bytes: int
    unpacked_bytes: int
    entries: int


def fetch(
    source: Source, registry: Registry, sandbox: Sandbox, limits: SourceLimits, *, log: Log, check: Check
) -> None:
    """Fills /app. Raises SourceError, TooLargeError, RegistryError, and what the sandbox raises."""
    unpacked = [str(limits.unpacked_bytes), str(limits.entries)]
    match source:
        case ArtifactSource():
            blob = _blob(source, registry, limits.packed_bytes)
            pieces = registry.get_blob(source.repository, blob.digest, limit_bytes=limits.packed_bytes)
            ended = sandbox.run([f"{_BIN}/unpack", "1", *unpacked], log=log, check=check, stdin=pieces)
        case GitSource():
            ended = sandbox.run([f"{_BIN}/fetch-git", source.url, source.ref], log=log, check=check)
        case ArchiveSource():
            command = [f"{_BIN}/fetch-archive", source.url, source.sha256, str(limits.packed_bytes), *unpacked]
            ended = sandbox.run(command, log=log, check=check)
    _judge(ended, source)


def write_config_vars(variables: Mapping[str, str], sandbox: Sandbox, *, log: Log, check: Check) -> None:
    """Each config var as a file of /platform/env, its value without a newline added (Heroku, Buildpack API)."""
    if not variables:
        return
    archive = BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, value in sorted(variables.items()):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(value.encode()), 0o600
            tar.addfile(info, BytesIO(value.encode()))
    command = ["tar", "--extract", "--no-same-owner", "--directory", "/platform/env"]
    ended = sandbox.run(command, log=log, check=check, stdin=[archive.getvalue()])
    if ended.code != 0:
        raise TooLargeError("The config vars are larger than 16 MiB.", advice="Keep files in the source.")


def _blob(source: ArtifactSource, registry: Registry, limit_bytes: int) -> Descriptor:
    try:
        media_type, content, _ = registry.get_manifest(source.repository, source.digest)
        blob = Manifest.parse(content, media_type).layers[0]
    except NotInRegistryError as error:
        raise SourceError(
            f"The source {source.digest} is not in the registry.", advice="Send it again: buildfarm build DIRECTORY."
        ) from error
    except (OtherContentError, ValueError, IndexError) as error:
        raise SourceError(f"The source {source.digest} is not a packed directory: {error}.") from error
    if blob.size > limit_bytes:
        raise TooLargeError(f"The source has {blob.size:,} bytes; the limit is {limit_bytes:,}.")
    return blob


def _judge(ended: Ended, source: Source) -> None:
    if ended.code == _NO_SPACE:
        raise TooLargeError("The source does not fit into the build's workspace.", advice="Leave out large files.")
    if ended.code == _TOO_LARGE:
        raise TooLargeError(
            "The source is larger than the farm takes: packed, unpacked, or by its number of files.",
            advice="Leave out large files.",
        )
    if ended.code != 0:
        what = {"artifact": "unpacked", "git": "cloned", "archive": "fetched and unpacked"}[source.kind]
        raise SourceError(f"The source could not be {what}.", advice="The log's last lines say why.")
