"""Small files at the top of the app, read by the node: what the customer's code wrote there is never followed."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from buildfarm.errors import CompileError

FILE_BYTES_MAX = 64 * 1024


def read_file(app: Path, name: str) -> str | None:
    """The file's text; None where there is none. Raises CompileError where it is no plain file of at most 64 KiB."""
    try:
        # The customer's code wrote this folder: a link would lead the node to a file of its own.
        descriptor = os.open(app / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = "is a symbolic link" if error.errno == errno.ELOOP else "cannot be read"
        raise CompileError(f"The {name} {reason}.", advice="Make it a plain file.") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise CompileError(f"The {name} is no plain file.")
        content = os.read(descriptor, FILE_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    if len(content) > FILE_BYTES_MAX:
        raise CompileError(f"The {name} is larger than 64 KiB.")
    return content.decode(errors="replace")
