"""Clears the harness away when its parent has died: ``python -m testkit.cluster.warden``, fed by a pipe."""

from __future__ import annotations

import sys

from testkit.cluster.cluster import clear_away

DONE = b"done"


def main() -> None:
    """Reads until the pipe's other end is gone: with its process, however that ended."""
    if sys.stdin.buffer.read() != DONE:
        clear_away()


if __name__ == "__main__":
    main()
