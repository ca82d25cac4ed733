"""Volumes of other versions, and backups: how data gets from one version into another."""

from __future__ import annotations

from collections.abc import Callable

from testkit.table import Claims
from verify.images.conditions.databases import Database
from verify.images.conditions.server import PASSWORD, Images, Server
from verify.images.conditions.users import prepare

GREETING = "grüß dich"
WORD = "grüß"
BACKUP = "/backup/backup"
# Half of a file; a base backup without what is written last
CUT = """
cd /data
if [ -d backup ]; then rm backup/backup_manifest; exit; fi
busybox truncate -s $(($(busybox stat -c %s backup) / 2)) backup
"""
# What the documentation says of a backup, run in a container beside the server, with the folder /backup.
BACKUPS = {
    "redis": {"an RDB file": "redis-cli -h {host} --rdb /backup/backup"},
    "valkey": {"an RDB file": "valkey-cli -h {host} --rdb /backup/backup"},
    "postgresql": {
        "a dump": "pg_dumpall -h {host} -U postgres -f /backup/backup",
        "a base backup": "pg_basebackup -h {host} -U postgres -D /backup/backup",
    },
    "mysql": {
        "a dump": "mariadb-dump -h {host} -u root --all-databases --ignore-database=mysql --system=users"
        " --insert-ignore --single-transaction --routines --events --result-file=/backup/backup"
    },
}
WRITE = {
    "redis": f"set greeting {WORD}",
    "postgresql": f"create table greetings (text text); insert into greetings values ('{GREETING}');"
    " create role reader login password 'word'",
    "mongodb": f"greetings.insert_one({{'text': '{GREETING}'}})",
    "mysql": f"create database app2; create table app2.greetings (text varchar(20)) character set utf8mb4;"
    f" insert into app2.greetings values ('{GREETING}'); create user reader@'%' identified by 'word'",
}
READ = {
    "redis": ("get greeting", WORD),
    "postgresql": (
        "select text, (select count(*) from pg_roles where rolname = 'reader') from greetings",
        f"{GREETING}|1",
    ),
    "mongodb": ("greetings.find_one()['text']", GREETING),
    "mysql": (
        "select text, (select count(*) from mysql.user where user = 'reader') from app2.greetings",
        f"{GREETING}\t1",
    ),
}


def _kind(database: Database) -> str:
    return "redis" if database.name == "valkey" else database.name


def try_versions(claims: Claims, images: Images, database: Database) -> None:
    """A used volume in a new container of the same version, in the next major version, and in the one before."""
    with images.volume() as volume:
        mounted = f"--volume={volume}:/data"
        fill(images, database, mounted, database.version)
        with images.server(database, mounted) as server:
            seen = server.ready() and has_data(server)
            claims.add(
                f"{database.title}: a used volume of the same version",
                "has its data" if seen else server.log()[-300:],
                seen,
            )
        if database.older and _kind(database) == "redis":
            with images.server(database, mounted, version=database.older) as server:
                refused = not server.ready()
                claims.add(
                    f"{database.title}: its volume in {database.older}",
                    f"“{server.said()}”",
                    refused and bool(server.said()),
                )
    if database.older:
        older(claims, images, database)


def older(claims: Claims, images: Images, database: Database) -> None:
    """Redis takes the volume of the version before it; the others refuse it with what to do."""
    with images.volume() as volume:
        mounted = f"--volume={volume}:/data"
        fill(images, database, mounted, database.older)
        with images.server(database, mounted) as server:
            started = server.ready()
            if _kind(database) == "redis":
                claims.add(
                    f"{database.title}: the volume of {database.older}", "has its data", started and has_data(server)
                )
            else:
                said = server.said()
                claims.add(
                    f"{database.title}: the volume of {database.older}",
                    f"“{said}”",
                    not started and "--restore" in said,
                )


def fill(
    images: Images, database: Database, mounted: str, version: str, ask: Callable[[Server], str] = Server.log
) -> str:
    """A server of this version writes what a later one must find; what ``ask`` says of it."""
    with images.server(database, mounted, version=version) as server:
        assert server.ready(), server.log()
        server.ask(WRITE[_kind(database)])
        told = ask(server)
        server.stop()
    return told


def has_data(server: Server) -> bool:
    """It serves what was written, with the password and not without."""
    question, answer = READ[_kind(server.database)]
    return server.ask(question) == answer and server.refuses()


def try_backups(claims: Claims, images: Images, database: Database) -> None:
    """The documented backups of this version and the one before it, each restored on an empty volume."""
    for kind, command in BACKUPS.get(database.name, {}).items():
        for version in filter(None, (database.version, "" if "base" in kind else database.older)):
            restored(claims, images, database, (kind, command, version))


def restored(claims: Claims, images: Images, database: Database, backup: tuple[str, str, str]) -> None:
    """One backup: restored, restarted, and refused when it is not whole."""
    kind, command, version = backup
    with images.volume() as volume:
        prepare(images, volume, "0:0", "0777")
        mounted = f"--volume={volume}:/backup"
        with images.server(database, mounted, version=version) as server:
            assert server.ready(), server.log()
            server.ask(WRITE[_kind(database)])
            said = server.beside(command, mounted)
        password = PASSWORD if "base" in kind else "another password"  # a base backup keeps the one it has
        old = (PASSWORD,) if password != PASSWORD else ()
        with images.server(
            database, mounted, command=("--restore", BACKUP), secret=password.encode(), password=password
        ) as server:
            seen = server.ready() and has_data(server) and server.refuses(*old)
            server.stop()
            server.start()
            seen = seen and server.ready() and has_data(server) and server.refuses(*old)
            figure = "restored; restarted with the same options" if seen else f"{said[-200:]} {server.log()[-400:]}"
        claims.add(f"{database.title}: {kind} of {version}, restored", figure, seen)
        images.change(volume, CUT)
        with images.server(database, mounted, command=("--restore", BACKUP)) as server:
            ended = not server.ready()
            figure = f"“{server.said()}”"
            claims.add(f"{database.title}: half of {kind} of {version}", figure, ended and bool(server.said()))
