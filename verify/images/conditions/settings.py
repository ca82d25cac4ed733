"""Settings by file and environment, and what a container's own limits make of a database."""

from __future__ import annotations

import tempfile
from pathlib import Path

from testkit.table import Claims
from verify.images.conditions.databases import Database
from verify.images.conditions.server import Images

MEMORY_MB = 200
WARNED = "WARNING: the database sorted text"
NOTE = "/data/17/sorting-versions"
# The setting in the server's file, where that is not how it is in the environment
FILES = {"mysql": "[mariadbd]\nmax_connections = 77", "mongodb": "operationProfiling:\n  slowOpThresholdMs: 77"}
# A hash join of three million rows that three processes share: some 240 MB of shared memory
PARALLEL = """
    set max_parallel_workers_per_gather = 2; set work_mem = '64MB';
    set parallel_setup_cost = 0; set parallel_tuple_cost = 0;
    explain (analyze, costs off, timing off, summary off) select count(*) from t x join t y using (b)
"""


def try_settings(claims: Claims, images: Images, database: Database) -> None:
    """A setting by environment, by file, and by both: the environment's is valid."""
    name, _, value = database.setting.rpartition(" ")
    text = FILES.get(database.name, database.setting)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        file = Path(folder) / "settings"
        file.write_text(text + "\n")
        by_file = (f"--volume={folder}:/given:ro", f"--env={database.settings}_FILE=/given/settings")
        by_environment = (f"--env={database.settings}={database.setting}",)
        other = text.replace(value, "99MB" if "MB" in value else "99")
        for kind, options, content in (
            ("file", by_file, text),
            ("environment", by_environment, text),
            ("both", (*by_file, *by_environment), other),
        ):
            file.write_text(content + "\n")
            with images.server(database, *options) as server:
                seen = server.ready() and database.expected in server.ask(database.asked).splitlines()
                figure = (
                    f"{name.strip(' =')} is {value}" if seen else f"{server.ask(database.asked)} {server.log()[-300:]}"
                )
            claims.add(f"{database.title}: settings by {kind}", figure, seen)


def try_memory(claims: Claims, images: Images, database: Database) -> None:
    """Redis takes three quarters of the container's memory, unless it is told otherwise."""
    wanted = {(): MEMORY_MB * 1024 * 1024 // 4 * 3, (f"--env={database.settings}=maxmemory 50mb",): 50 * 1024 * 1024}
    for options, expected in wanted.items():
        with images.server(database, f"--memory={MEMORY_MB}m", *options) as server:
            seen = server.ready() and server.ask("config get maxmemory").split()[-1]
        kind = "maxmemory by environment" if options else "maxmemory by default"
        claims.add(f"{database.title}: {MEMORY_MB} MB of memory, {kind}", f"{seen} bytes", seen == str(expected))


def try_shared_memory(claims: Claims, images: Images, database: Database) -> None:
    """PostgreSQL with Docker's 64 MB of /dev/shm."""
    with images.server(database, "--shm-size=64m") as server:
        assert server.ready(), server.log()
        server.ask("create table t as select generate_series(1, 3000000) a, md5(random()::text) b; analyze t")
        plan = server.ask(PARALLEL)
    launched = next((line.strip() for line in plan.splitlines() if "Launched" in line or "ERROR" in line), plan[-200:])
    claims.add(
        f"{database.title}: a parallel hash join with 64 MB of /dev/shm", launched, launched == "Workers Launched: 2"
    )


def try_sorting(claims: Claims, images: Images, database: Database) -> None:
    """PostgreSQL warns where other versions of ICU and the C library made the indexes."""
    with images.server(database) as server:
        quiet = server.ready() and not server.said(WARNED)
        server.execute("sh", "-c", f"sed 's/icu76 76/icu72 72/' {NOTE} >/tmp/note; cat /tmp/note >{NOTE}")
        server.stop()
        server.start()
        said = server.said(WARNED) if server.ready() else ""
    claims.add(f"{database.title}: another ICU made the volume's indexes", f"“{said}”", quiet and "REINDEX" in said)


def try_time_zones(claims: Claims, images: Images, database: Database) -> None:
    """MariaDB has the tables of time zones."""
    with images.server(database) as server:
        question = "select count(*), convert_tz('2026-07-01 12:00', 'UTC', 'Europe/Paris') from mysql.time_zone_name"
        seen = server.ask(question) if server.ready() else server.log()[-200:]
    claims.add(f"{database.title}: time zones", seen.replace("\t", " names; noon UTC in Paris: "), "14:00:00" in seen)
