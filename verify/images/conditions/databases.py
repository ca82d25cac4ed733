"""The databases: how each is asked, and what is typical of each."""

from __future__ import annotations

import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class Database:
    """One image; commands are what a client in its container runs."""

    name: str
    version: str
    older: str  # a major version before it, of the same recipe; empty: there is none
    password_file: str  # the variable that names the password's file
    secret: str  # the client's variable that holds the password
    settings: str  # the variable with settings
    setting: str  # one of them, and what is printed of it
    asked: str
    expected: str
    client: tuple[str, ...]
    ping: str
    table: str  # makes what rows are written to
    insert: str  # writes {row} and prints a line with it as soon as it is acknowledged
    count: str  # the greatest row
    image: str = ""  # what the image is called, if not as the recipe
    lost: float = 0.0  # seconds whose acknowledged rows a power failure may take
    durable: str = ""  # the setting with which it takes none

    @property
    def title(self) -> str:
        """As it stands in the table."""
        return f"{self.name} {self.version}"

    def command(self, statement: str) -> tuple[str, ...]:
        """A client that runs one statement."""
        return (*self.client, *shlex.split(statement)) if self.client[0].endswith("-cli") else (*self.client, statement)


def _redis(name: str, version: str, older: str) -> Database:
    return Database(
        name=name,
        version=version,
        older=older,
        password_file=f"{name.upper()}_PASSWORD_FILE",
        secret="REDISCLI_AUTH",
        settings=f"{name.upper()}_SETTINGS",
        setting="hash-max-listpack-entries 77" if not version.startswith("6") else "hash-max-ziplist-entries 77",
        asked="config get hash-max-*-entries",
        expected="77",
        client=(f"{name}-cli", "--raw", "-h", "127.0.0.1"),
        ping="ping",
        table="del rows",
        insert="eval \"redis.call('set','rows',ARGV[1]) return ARGV[1]\" 0 {row}",
        count="get rows",
        lost=3.0,  # a second, and two more where the disk is slow
        durable="appendfsync always",
    )


DATABASES = (
    _redis("redis", "8.0", "7.0"),
    _redis("valkey", "8.1", ""),
    Database(
        name="postgresql",
        version="17",
        older="15",
        password_file="POSTGRES_PASSWORD_FILE",
        secret="PGPASSWORD",
        settings="POSTGRES_SETTINGS",
        setting="work_mem = 7MB",
        asked="show work_mem",
        expected="7MB",
        client=("psql", "-AtqXwh", "127.0.0.1", "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-c"),
        ping="select 'PONG'",
        table="create table if not exists rows (number int); truncate rows",
        insert="insert into rows values ({row}) returning number;",
        count="select max(number) from rows",
    ),
    Database(
        name="mysql",
        version="11.8",
        older="10.11",
        password_file="MYSQL_ROOT_PASSWORD_FILE",
        secret="MYSQL_PWD",
        settings="MYSQL_SETTINGS",
        setting="max_connections = 77",
        asked="select @@max_connections",
        expected="77",
        client=("mariadb", "-Nn", "--default-character-set=utf8mb4", "-h", "127.0.0.1", "-u", "root", "-e"),
        ping="select 'PONG'",
        table="create database if not exists app; create or replace table app.number (number int) engine=InnoDB",
        insert="insert into app.number values ({row}) returning number;",
        count="select max(number) from app.number",
    ),
    Database(
        name="mongodb",
        version="5.0",
        older="",
        password_file="MONGO_PASSWORD_FILE",
        secret="MONGO_PASSWORD",
        settings="MONGO_SETTINGS",
        setting="--slowms 77",
        asked="admin.command('profile', -1)['slowms']",
        expected="77",
        client=("ask", "127.0.0.1"),
        ping="greetings.count_documents({}) >= 0 and 'PONG'",
        table="rows.drop()",
        insert="rows.insert_one({{'_id': {row}}}).inserted_id",
        count="max((row['_id'] for row in rows.find()), default=0)",
        image="mongodb-by-driver",
        lost=1.0,  # the journal is written every tenth of a second
    ),
)
