"""Users that the image does not know, volumes that others made, and first starts that are cut off from everything."""

from __future__ import annotations

from testkit.table import Claims
from verify.images.conditions.databases import Database
from verify.images.conditions.server import HARDENED, Images, Server

OPENSHIFT, ANY = "1000670000:0", "4242:4343"


def prepare(images: Images, volume: str, owner: str, mode: str) -> None:
    """Gives the volume's folder this owner and mode, as an administrator or Kubernetes does."""
    images.change(volume, f"busybox chown -R {owner} /data; busybox chmod -R {mode} /data")


def try_users(claims: Claims, images: Images, database: Database) -> None:
    """Each on a read-only root with a tmpfs for /tmp, without capabilities and without a network."""
    for user, owner, mode in ((OPENSHIFT, "", ""), (ANY, "", ""), (OPENSHIFT, "0:0", "2770")):
        kind = f"a volume of {owner}, mode {mode}" if owner else "a new volume"
        with images.volume() as volume:
            if owner:
                prepare(images, volume, owner, mode)
            options = (*HARDENED, f"--user={user}", f"--volume={volume}:/data{':nocopy' if owner else ''}")
            with images.server(database, *options) as server:
                seen = server.ready() and server.answers() and server.refuses() and survives(server)
                if seen and owner:  # Kubernetes does so at every mount of a volume with an fsGroup
                    server.stop()
                    prepare(images, volume, user, "u+rwX,g+rwX")
                    server.start()
                    seen = server.ready() and server.answers()
                claims.add(f"{database.title}: user {user}, {kind}", seen_of(server, seen), seen)
    with images.volume() as volume:
        prepare(images, volume, "0:0", "0755")
        options = (*HARDENED, f"--user={ANY}", f"--volume={volume}:/data:nocopy")
        with images.server(database, *options) as server:
            ended = not server.ready()
            claims.add(
                f"{database.title}: a volume that the user cannot write to",
                f"“{server.said()}”",
                ended and bool(server.said()),
            )


def stores(server: Server) -> bool:
    """What is written can be read."""
    server.ask(server.database.table)
    server.ask(server.database.insert.format(row=1))
    return server.ask(server.database.count) == "1"


def survives(server: Server) -> bool:
    """What was written is there after kill -9."""
    written = stores(server)
    server.kill()
    server.start()
    return written and server.ready() and server.ask(server.database.count) == "1"


def seen_of(server: Server, seen: bool) -> str:
    """What a row shows."""
    return "healthy; data survives kill -9" if seen else f"{server.state()}: {server.log()[-300:]}"
