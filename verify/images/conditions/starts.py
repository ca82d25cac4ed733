"""First starts that are interrupted, and what the server says of itself meanwhile."""

from __future__ import annotations

import random
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from testkit.table import Claims
from verify.images.conditions.databases import Database
from verify.images.conditions.server import READY_SECONDS, Images, Server, health_of
from verify.images.conditions.users import stores

BALLAST = "verify-ballast"
ROOM_MB = 400
AT_ONCE = 2  # first starts that are interrupted


def try_interrupted(claims: Claims, images: Images, database: Database, count: int) -> None:
    """kill -9 at a random moment of the first start; started again, the database must be whole."""
    lasts = first_start(images, database)
    moments = [random.triangular(0, lasts, 0) for _ in range(count)]  # most is made early
    with ThreadPoolExecutor(AT_ONCE) as pool:
        seen = list(pool.map(partial(interrupted, images, database), moments))
    wrong = [said for _, said in seen if said]
    during = sum(half for half, _ in seen)
    figure = f"{count - len(wrong)} of {count} whole, {during} half-made ones made anew; moments up to {lasts:.1f} s"
    claims.add(f"{database.title}: first starts ended with kill -9", "; ".join([figure, *wrong])[:600], not wrong)


def interrupted(images: Images, database: Database, moment: float) -> tuple[bool, str]:
    """One start, killed at that moment and repeated: whether it was half-made, and what is wrong with it."""
    with images.volume() as volume, images.server(database, f"--volume={volume}:/data", started=False) as server:
        server.interrupt(moment)
        server.start()
        whole = server.ready() and server.answers() and server.refuses() and stores(server)
        log = server.log()
        wrong = "" if whole else f"after {moment:.2f} s: {server.state()} {log[-300:]}"
    return "interrupted" in log, wrong


def first_start(images: Images, database: Database) -> float:
    """How many seconds it takes."""
    with images.server(database) as server:
        started = time.monotonic()
        assert server.ready(), server.log()
        return time.monotonic() - started


def try_unprotected(claims: Claims, images: Images, database: Database) -> None:
    """Clients without a password ask all through a first start and a recovery, and so does the health check."""
    with images.server(database) as server:
        first = watch(server)
        server.ask(database.table)
        server.ask(database.insert.format(row=1))
        server.kill()
        server.start()
        recovery = watch(server)
    for what, (asked, let_in, early) in (("a first start", first), ("a recovery", recovery)):
        figure = f"asked {asked} times: {let_in} let in, {early} times healthy before it served"
        claims.add(f"{database.title}: without a password during {what}", figure, let_in == early == 0)


def watch(server: Server) -> tuple[int, int, int]:
    """Questions without a password, how many were answered, and how often it was healthy but did not serve."""
    asked = let_in = early = 0
    until = time.monotonic() + READY_SECONDS
    check = ["docker", "exec", server.name, *health_of(server)]
    while time.monotonic() < until:
        asked += 1
        let_in += any(line.strip() == "PONG" for line in server.ask(server.database.ping, "").splitlines())
        healthy = subprocess.run(check, capture_output=True, check=False).returncode == 0
        early += healthy and not server.answers()
        if healthy:
            return asked, let_in, early
    raise AssertionError(f"not healthy within {READY_SECONDS:g} s: {server.log()[-300:]}")


def try_full_disk(claims: Claims, images: Images, database: Database) -> None:
    """A first start without room ends and says so; with room again it completes."""
    options = ("--driver=local", "--opt=type=tmpfs", "--opt=device=tmpfs", f"--opt=o=size={ROOM_MB}m,mode=1777")
    with images.volume(*options) as volume:
        holder = ["docker", "run", "--rm", "--user=0", f"--volume={volume}:/data", "--entrypoint=sh", images.tools]
        fill = (
            f"busybox dd if=/dev/zero of=/data/{BALLAST} bs=1M 2>/dev/null; echo full; read -r wait; rm /data/{BALLAST}"
        )
        with subprocess.Popen(
            [*holder[:3], "--interactive", *holder[3:], "-c", f"{fill}; read -r wait"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as held:  # fmt: skip
            assert held.stdin and held.stdout
            held.stdout.readline()
            with images.server(database, f"--volume={volume}:/data") as server:
                ended = not server.ready()
                said = server.said("No space") or server.said("space left") or server.said("full")
                held.stdin.write(b"\n")
                held.stdin.flush()
                time.sleep(1)
                server.start()
                whole = server.ready() and server.answers() and server.refuses()
            held.stdin.write(b"\n")
            held.stdin.close()
    claims.add(
        f"{database.title}: a first start on a full disk, then with room",
        f"“{said[-150:]}”; whole: {whole}",
        ended and whole,
    )


def try_terminated(claims: Claims, images: Images, database: Database) -> None:
    """The stop signal at any moment of a first start is obeyed at once, and the next start completes."""
    lasts, slowest, whole = first_start(images, database), 0.0, True
    codes: set[int] = set()
    for part in range(1, 6):
        with images.volume() as volume, images.server(database, f"--volume={volume}:/data") as server:
            time.sleep(lasts * part / 6)
            code, seconds = server.stop()
            slowest, codes = max(slowest, seconds), codes | {code}
            server.start()
            whole = whole and server.ready() and server.answers() and server.refuses()
    figure = f"ended within {slowest:.1f} s with {sorted(codes)}; whole afterwards: {whole}"
    claims.add(f"{database.title}: stopped during its first start", figure, whole and codes <= {0, 143})
