"""Why a program of a fetching sandbox gives up."""

from __future__ import annotations

import errno

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class RefusedError(Exception):
    """It cannot be fetched; the text is a code for the node, and ``about`` the name of a file or a server."""

    def __init__(self, code: str, about: str = "") -> None:
        super().__init__(code)
        self.about = about
