"""A TCP proxy that makes a connection slow, or holds a request: this kernel has no netem, and both are faults."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

_CHUNK_BYTES = 64 * 1024


class Hold:
    """Requests that begin with a text wait at the proxy until `release`; what still waits at its end never arrives."""

    def __init__(self, begins: bytes, contains: bytes) -> None:
        self.held = threading.Event()
        self._released = threading.Event()
        self._begins = begins
        self._contains = contains

    def release(self) -> None:
        """They go on, and later ones too."""
        self._released.set()

    async def before(self, piece: bytes) -> None:
        """Returns when this piece may go on."""
        first = piece.partition(b"\r\n")[0]
        if first.startswith(self._begins) and self._contains in first:
            self.held.set()
            while not self._released.is_set():
                await asyncio.sleep(0.01)


def slow_proxy(
    listen: tuple[str, int], to: tuple[str, int], delay_seconds: float
) -> contextlib.AbstractContextManager[None]:
    """For the length of the block, what comes to ``listen`` goes on to ``to``, each piece so much later."""

    async def later(piece: bytes) -> None:
        await asyncio.sleep(delay_seconds)

    return _proxy(listen, to, later, later)


def narrow_proxy(
    listen: tuple[str, int], to: tuple[str, int], bytes_a_second: float
) -> contextlib.AbstractContextManager[None]:
    """For the length of the block, each connection to ``listen`` carries no more than so much to ``to``."""

    async def slowly(piece: bytes) -> None:
        await asyncio.sleep(len(piece) / bytes_a_second)

    async def at_once(piece: bytes) -> None:
        pass

    return _proxy(listen, to, slowly, at_once)


@contextmanager
def tag_hold(listen: tuple[str, int], to: tuple[str, int], tag: str) -> Iterator[Hold]:
    """A proxy before a registry that holds the requests which move this tag."""
    hold = Hold(b"PUT /v2/", f"/manifests/{tag} ".encode())

    async def at_once(piece: bytes) -> None:
        pass

    with _proxy(listen, to, hold.before, at_once):
        yield hold


_Before = Callable[[bytes], Awaitable[None]]


@contextmanager
def _proxy(listen: tuple[str, int], to: tuple[str, int], before: _Before, before_answer: _Before) -> Iterator[None]:
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wait: _Before) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                while piece := await reader.read(_CHUNK_BYTES):
                    await wait(piece)
                    writer.write(piece)
                    await writer.drain()
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(*to)
        except ConnectionError:
            writer.close()
            return
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(pump(reader, back, before), pump(there, writer, before_answer))

    async def main() -> None:
        server = await asyncio.start_server(serve, *listen)
        async with server:
            ready.set()
            with contextlib.suppress(asyncio.CancelledError):
                await server.serve_forever()

    thread = threading.Thread(target=lambda: asyncio.set_event_loop(loop) or loop.run_until_complete(task), daemon=True)  # type: ignore[func-returns-value]
    task = loop.create_task(main())
    thread.start()
    assert ready.wait(60), f"nothing listens on {listen}"
    try:
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)
        rest = asyncio.all_tasks(loop)
        for other in rest:
            other.cancel()
        if rest:  # without any, the result would belong to this thread's loop
            loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
        loop.run_until_complete(asyncio.sleep(0))  # connections that were ended say so in the loop's next turn
        loop.close()
