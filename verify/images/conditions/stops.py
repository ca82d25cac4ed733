"""A stop under load: what was acknowledged is there afterwards."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from testkit.cluster.shell import wait
from testkit.table import Claims
from verify.images.conditions.databases import Database
from verify.images.conditions.server import GRACE_SECONDS, Images, Server

LOAD_SECONDS = 3.0


def try_stop(claims: Claims, images: Images, database: Database) -> None:
    """The stop signal while rows are written as fast as one client can."""
    with images.server(database) as server:
        assert server.ready(), server.log()
        server.ask(database.table)
        with load(server) as acknowledged:
            time.sleep(LOAD_SECONDS)
            code, seconds = server.stop()
        last = acknowledged[-1]
        server.start()
        found = int(server.ask(database.count) or 0) if server.ready() else -1
    figure = f"ended with {code} in {seconds:.1f} s; {last} rows acknowledged, {found} found"
    claims.add(
        f"{database.title}: stopped under load", figure, code == 0 and seconds < GRACE_SECONDS and found >= last > 0
    )


@contextmanager
def load(server: Server) -> Iterator[list[int]]:
    """Writes rows 1, 2, … until the server is gone; the numbers it acknowledged, of which there is one."""
    client = [word for word in server.database.client if word not in ("-c", "-e")]
    command = ["docker", "exec", "--interactive", f"--env={server.database.secret}={server.password}", server.name]
    acknowledged = [0]
    with subprocess.Popen(
        [*command, *client], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
    ) as process:
        writer = threading.Thread(target=_write, args=(process, server.database.insert), daemon=True)
        reader = threading.Thread(target=_read, args=(process, acknowledged), daemon=True)
        writer.start()
        reader.start()
        try:
            wait(lambda: acknowledged[-1] > 0, "no row was acknowledged")
            yield acknowledged
        finally:
            process.kill()
            writer.join()
            reader.join()


def _write(process: subprocess.Popen[bytes], insert: str) -> None:
    assert process.stdin
    row = 0
    with suppress(OSError, ValueError):
        while True:
            statements = "".join(insert.format(row=row + number) + "\n" for number in range(1, 51))
            process.stdin.write(statements.encode())
            row += 50


def _read(process: subprocess.Popen[bytes], acknowledged: list[int]) -> None:
    assert process.stdout
    for line in process.stdout:
        if line.strip().isdigit():
            acknowledged.append(int(line))
