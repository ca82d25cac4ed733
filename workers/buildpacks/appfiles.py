"""Files of a build that the node looks at."""

from __future__ import annotations

from buildfarm.errors import CompileError
from workers.build_folder import BuildFolder, NotPlainError

FILE_BYTES_MAX = 64 * 1024


def read_file(app: BuildFolder, name: str) -> str | None:
    """The file's text; None if there is none. Raises CompileError unless it is a plain file of at most 64 KiB."""
    try:
        content = app.read(name, FILE_BYTES_MAX)
    except NotPlainError as error:
        raise CompileError(f"The {name} {error}.", advice="Make it a small plain file.") from error
    return None if content is None else content.decode(errors="replace")
