"""What one idle build node sends to Redis: recorded with MONITOR, so that simulated nodes can send the same."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.nodes.own_redis import ADDRESSES

_LINE = re.compile(rb"\+?\d+\.\d+ \[\d+ ([^\]]+)\] (.*)")
_ARGUMENT = re.compile(rb'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Repeated:
    """A command that the node sends again and again, as it was each time, and how often."""

    per_second: float
    times: tuple[tuple[bytes, ...], ...]

    @property
    def is_wait(self) -> bool:
        """Whether it is the blocking pop, whose answer may be a build."""
        return self.times[0][0] == b"BRPOP"

    @property
    def name(self) -> str:
        """What it is, in a word or two."""
        first, *more = self.times[0]
        if first == b"EVALSHA":  # its script's first key
            return f"script of {more[2].rpartition(b':')[2].decode() or 'the namespace'}"
        return first.decode()


@contextmanager
def monitored(port: int) -> Iterator[list[bytes]]:
    """The lines of MONITOR, complete at the end of the block."""
    lines = list[bytes]()
    with socket.create_connection((ADDRESSES[0], port), timeout=10) as connection:
        connection.sendall(b"MONITOR\r\n")
        stream = connection.makefile("rb")
        stream.readline()
        reader = threading.Thread(target=lambda: lines.extend(_until_closed(stream)), daemon=True)
        reader.start()
        yield lines
        time.sleep(0.1)
        connection.shutdown(socket.SHUT_RDWR)
        reader.join(10)


def repeated(lines: list[bytes], holder: str, seconds: float) -> list[Repeated]:
    """What this node sent, by kind; the only other one that sends anything names the ``holder`` again and again."""
    sent = [(match[1], _arguments(match[2])) for line in lines if (match := _LINE.match(line))]
    named = {client for client, command in sent if _names(command, holder)}
    kinds = defaultdict[tuple[bytes, ...], list[tuple[bytes, ...]]](list)
    for client, command in sent:
        if client not in named | {b"lua"}:
            kinds[_kind(command)].append(command)
    return [Repeated(len(times) / seconds, tuple(times)) for times in kinds.values()]


def _names(command: tuple[bytes, ...], node_id: str) -> bool:
    return node_id.encode() in command


def _kind(command: tuple[bytes, ...]) -> tuple[bytes, ...]:
    if command[0] == b"EVALSHA":
        return command[1], command[3]  # a script, and its first key: two duties have one script
    return command[:1]


def _arguments(text: bytes) -> tuple[bytes, ...]:
    return tuple(
        part.decode("unicode_escape").encode("latin-1") if b"\\" in part else part for part in _ARGUMENT.findall(text)
    )


def _until_closed(stream: object) -> Iterator[bytes]:
    try:
        yield from stream  # type: ignore[misc]
    except OSError:
        return
