"""Passwords as files of the world have them: one rule in all images."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from testkit.cluster.shell import run
from testkit.table import Claims
from verify.images.conditions.databases import Database
from verify.images.conditions.server import HARDENED, Images, Server, health_of

# what the file has, and what the password is
TAKEN = {
    "CRLF": (b"secret\r\n", "secret"),
    "several lines": (b"secret\nsecond\n", "secret"),
    "blanks around": (b"  se cret \n", "  se cret "),
    "a byte order mark": (b"\xef\xbb\xbfsecret\r\n", "secret"),
    "umlauts": ("pässwörtÁ€".encode(), "pässwörtÁ€"),
    "an emoji": ("🔑".encode(), "🔑"),
    "signs": (rb"""$HOME`id`#x;'y"z\n\%s&|<>*!""" + b"\n", r"""$HOME`id`#x;'y"z\n\%s&|<>*!"""),
    "200 characters": (b"p" * 200, "p" * 200),
    "512 bytes": ("ü".encode() * 256, "ü" * 256),
}
REFUSED = {
    "no line": (b"", "first line is empty"),
    "an empty line": (b"\r\nsecret\n", "first line is empty"),
    "UTF-16": ("secret\r\n".encode("utf-16"), "UTF-16"),
    "513 bytes": (b"p" * 513, "longer than 512 bytes"),
    "514 bytes in 257 letters": ("ü".encode() * 257, "longer than 512 bytes"),
}
REFUSED_BY = {("mongodb", "an emoji"): "no emoji"}  # what one server alone does not take
TELLING = "tell-tale-$'\"\\ümlaut"


def try_passwords(claims: Claims, images: Images, database: Database) -> None:
    """Every file of the table, a server each; one server is searched for its password."""
    refused = dict(REFUSED)
    for kind, (content, password) in TAKEN.items():
        if reason := REFUSED_BY.get((database.name, kind)):
            refused[kind] = content, reason
            continue
        with images.server(database, *HARDENED, secret=content, password=password) as server:
            seen = server.ready() and server.answers() and server.refuses()
        claims.add(f"{database.title}: a password's file with {kind}", "logs in; others are refused", seen)
    for kind, (content, reason) in refused.items():
        with images.server(database, *HARDENED, secret=content) as server:
            ended = not server.ready()
            said = server.said()
        claims.add(f"{database.title}: a password's file with {kind}", f"“{said}”", ended and reason in said)
    with images.server(database, *HARDENED, secret=TELLING.encode(), password=TELLING) as server:
        found = server.ready() and places_of_password(server)
    claims.add(f"{database.title}: places that show the password", ", ".join(found or ["none"]), found == [])


def try_addresses(claims: Claims, images: Images, database: Database) -> None:
    """MariaDB has no user without a password at an address, on volumes of earlier images neither."""
    with images.server(database, f"--env={database.settings}=skip-name-resolve") as server:
        seen = server.ready() and server.answers() and server.refuses()
        server.ask("create user root@'127.0.0.1'")
        opened = not server.refuses()
        server.stop()
        server.start()
        closed = server.ready() and server.answers() and server.refuses()
    figure = "refused; one of an earlier image is removed at the start"
    claims.add(f"{database.title}: root without a password at 127.0.0.1", figure, seen and opened and closed)


def places_of_password(server: Server) -> list[str]:
    """Where the password can be read without the file: arguments and environments of all processes, log, inspect."""
    shown = {"log": server.log(), "inspect": json.dumps(json.loads(run("docker", "inspect", server.name)))}
    for _ in range(10):  # the health check's processes come and go
        shown["processes"] = shown.get("processes", "") + _processes(server)
    return [place for place, text in shown.items() if "tell-tale" in text]


def _processes(server: Server) -> str:
    """Arguments and environments of every process in the container and of a health check, as the machine sees them."""
    with subprocess.Popen(["docker", "exec", server.name, *health_of(server)], stdout=subprocess.DEVNULL):
        from_host = run("docker", "top", server.name, "-eo", "pid,args")
        numbers = [line.split()[0] for line in from_host.splitlines()[1:]]
        environments = [_environment(number) for number in numbers]
    assert any(environments), "no environment of a process could be read"
    return "".join([from_host, *environments])


def _environment(number: str) -> str:
    try:
        return Path(f"/proc/{number}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""
