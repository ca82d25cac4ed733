"""Files of a build that the node looks at: what the customer's code wrote there is never followed."""

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


def may_have(top: Path, *parts: str) -> bool:
    """False where nothing is at that path below ``top`` for certain; true where a link on the way hides it, too."""
    folder = os.open(top, os.O_PATH | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    finally:
        os.close(folder)
    return True
