"""A simulated build node: the connections of a real one, and on them the commands that were recorded of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from itertools import cycle

from bench.nodes.recording import Repeated

NOTHING = b"*-1\r\n"
PARTS = (
    5  # of an answer with a queue and a message, whose JSON has no line breaks: two lengths, two texts and their number
)
STORE_CONNECTIONS = 2


class Connection(asyncio.Protocol):
    """One connection. Answers are dropped, or go to ``answered`` when they are complete, which is for the wait only."""

    def __init__(self) -> None:
        self.answered: Callable[[bytes], None] | None = None
        self._got = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def send(self, content: bytes) -> None:
        """Sends a whole command."""
        assert self._transport is not None
        self._transport.write(content)

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"-"):
            raise SystemExit(f"Redis refuses a simulated node's command: {data!r}")
        if self.answered is None:
            return
        self._got += data
        if self._got == NOTHING or self._got.count(b"\r\n") >= PARTS:
            got, self._got = self._got, b""
            self.answered(got)

    def close(self) -> None:
        """Ends it."""
        if self._transport is not None:
            self._transport.close()


class SimulatedNode:
    """Sends what an idle node does, each kind at a random moment of its own; ``took`` is called with each message."""

    def __init__(self, recorded: Sequence[Repeated], ids: tuple[str, str], took: Callable[[bytes], None]) -> None:
        self._recorded_id, self._id = (node_id.encode() for node_id in ids)
        self._took = took
        self._recorded = recorded
        self._connections: list[Connection] = []

    async def connect(self, address: str, port: int, count: int) -> None:
        """As many connections as a real node has; those of the pool that are seldom needed stay idle."""
        loop = asyncio.get_running_loop()
        for _ in range(count):
            _, connection = await loop.create_connection(Connection, address, port)
            self._connections.append(connection)

    def begin(self) -> None:
        """From now on it is an idle node."""
        loop = asyncio.get_running_loop()
        stores = self._connections[-STORE_CONNECTIONS:]
        for repeated in self._recorded:
            contents = [
                packed([part.replace(self._recorded_id, self._id) for part in command]) for command in repeated.times
            ]
            pause = 1 / repeated.per_second
            first = random.uniform(0, pause)
            if repeated.is_wait:
                loop.call_later(first, self._wait, self._connections[0], cycle(contents))
            else:
                store = stores[hash(contents[0]) % len(stores)]
                loop.call_later(first, self._again, store, cycle(contents), pause)

    def close(self) -> None:
        """Leaves as a dead node does."""
        for connection in self._connections:
            connection.close()

    def _again(self, store: Connection, contents: cycle[bytes], pause: float) -> None:
        store.send(next(contents))
        asyncio.get_running_loop().call_later(pause, self._again, store, contents, pause)

    def _wait(self, connection: Connection, contents: cycle[bytes]) -> None:
        def answered(answer: bytes) -> None:
            if answer != NOTHING:
                self._took(answer.split(b"\r\n", 4)[4].removesuffix(b"\r\n"))
            connection.send(next(contents))

        connection.answered = answered
        connection.send(next(contents))


def packed(command: Sequence[bytes]) -> bytes:
    """A command as Redis reads it."""
    return b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in command)
