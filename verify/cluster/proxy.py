"""A TCP proxy that makes a connection slow: this kernel has no netem, and a slow link is a fault like another."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_CHUNK_BYTES = 64 * 1024


@contextmanager
def slow_proxy(listen: tuple[str, int], to: tuple[str, int], delay_seconds: float) -> Iterator[None]:
    """For the length of the block, what comes to ``listen`` goes on to ``to``, each piece so much later."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                while piece := await reader.read(_CHUNK_BYTES):
                    await asyncio.sleep(delay_seconds)
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
            await asyncio.gather(pump(reader, back), pump(there, writer))

    async def main() -> None:
        server = await asyncio.start_server(serve, *listen)
        async with server:
            ready.set()
            with contextlib.suppress(asyncio.CancelledError):
                await server.serve_forever()

    thread = threading.Thread(target=lambda: asyncio.set_event_loop(loop) or loop.run_until_complete(task), daemon=True)  # type: ignore[func-returns-value]
    task = loop.create_task(main())
    thread.start()
    ready.wait(5)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)
        rest = asyncio.all_tasks(loop)
        for other in rest:
            other.cancel()
        loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
        loop.run_until_complete(asyncio.sleep(0))  # connections that were ended say so in the loop's next turn
        loop.close()
