"""The scripts that start databases: the rule for passwords, other versions' volumes, and time zones as SQL."""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.recipes.folder import CHECKOUT_RECIPES
from verify.images.conditions.passwords import REFUSED, TAKEN

DATABASES = CHECKOUT_RECIPES / "databases"
RULE = DATABASES / "redis/root/usr/lib/start/password"
CLUSTER = DATABASES / "postgresql/root/usr/lib/start/cluster"


def shell(script: str, *arguments: str | Path, locale: str = "C") -> subprocess.CompletedProcess[bytes]:
    command = ["sh", "-euc", script, "sh", *map(str, arguments)]
    return subprocess.run(command, env={"LC_ALL": locale, "PATH": "/usr/bin:/bin"}, capture_output=True, check=False)


def read(path: Path, locale: str = "C") -> subprocess.CompletedProcess[bytes]:
    return shell('. "$1"; A_FILE=$2; read_password A_FILE; printf %s "$password"', RULE, path, locale=locale)


def test_nothing_that_is_sourced_is_where_people_mount_their_own():
    assert {path.name for path in DATABASES.glob("*/root/*") if path.is_file()} == {"start", "health"}


def test_every_image_has_the_same_rule():
    names = ("redis", "valkey", "postgresql", "mysql", "mongodb", "elasticsearch")
    rules = {(DATABASES / name / "root/usr/lib/start/password").read_text() for name in names}
    assert rules == {RULE.read_text()}


@pytest.mark.parametrize("kind", TAKEN)
def test_a_password_is_the_first_line_as_it_is(tmp_path, kind):
    content, password = TAKEN[kind]
    (tmp_path / "file").write_bytes(content)
    done = read(tmp_path / "file")
    assert (done.returncode, done.stdout.decode()) == (0, password)


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_that_has_no_password_is_refused_by_name(tmp_path, kind):
    content, reason = REFUSED[kind]
    (tmp_path / "file").write_bytes(content)
    done = read(tmp_path / "file", "C.UTF-8")
    assert done.returncode == 64
    assert done.stderr.decode().startswith(f"refused: A_FILE names {tmp_path / 'file'}, ")
    assert reason in done.stderr.decode()


@pytest.mark.parametrize("path", ["missing", "."], ids=["missing", "a folder"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, path):
    done = read(tmp_path / path)
    assert done.returncode == 64
    assert b"which is not a file that the container's user can read" in done.stderr


def test_more_lines_than_one_are_noted(tmp_path):
    (tmp_path / "file").write_bytes(b"first\nsecond\n")
    assert b"has more than one line; the first is the password" in read(tmp_path / "file").stderr


def test_a_variable_that_is_not_set_is_refused():
    done = shell('. "$1"; read_password A_FILE', RULE)
    assert (done.returncode, done.stderr) == (
        64,
        b"refused: A_FILE is not set; it must name the file that contains the password.\n",
    )


@settings(max_examples=30, deadline=None)  # a process each
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40))
def test_escaping_puts_a_backslash_before_each_of_the_characters(password):
    done = shell('. "$1"; password=$2; escape \'\\\\"\'; printf %s "$escaped"', RULE, password)
    assert done.stdout.decode() == password.replace("\\", "\\\\").replace('"', '\\"')


@pytest.mark.parametrize("folder", ["15", "."], ids=["of this image's layout", "at the top"])
def test_a_volume_of_another_postgresql_is_refused_with_what_to_do(tmp_path, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "PG_VERSION").write_text("15\n")
    done = shell('. "$1"; . "$2"; volume=$3 version=17; refuse_other_versions', RULE, CLUSTER, tmp_path)
    assert done.returncode == 64
    said = done.stderr.decode()
    assert "has a database of PostgreSQL 15" in said
    assert "--restore DUMP" in said
    assert said.count("\n") == 1


def restore(folder: Path, begin: str, end: str) -> subprocess.CompletedProcess[bytes]:
    (folder / "dump").write_text(f"--\n-- PostgreSQL database{begin} dump\n--\n\n--\n-- PostgreSQL database{end}\n--\n")
    script = '. "$1"; . "$2"; make_cluster() { echo made; exit; }; restore_dump "$3"'
    return shell(script, RULE, CLUSTER, folder / "dump")


@pytest.mark.parametrize("kind", ["", " cluster"])
def test_a_dump_is_whole_if_it_ends_as_its_kind_does(tmp_path, kind):
    assert restore(tmp_path, kind, f"{kind} dump complete").stdout == b"made\n"


def test_a_dump_of_all_databases_that_ends_with_one_of_them_is_refused(tmp_path):
    done = restore(tmp_path, " cluster", " dump complete")
    assert done.returncode == 64
    assert b"which is not a whole dump" in done.stderr


def test_clients_and_base_backups_of_other_containers_need_the_password(tmp_path):
    made = 'initdb() { mkdir "$PGDATA.new"; : >"$PGDATA.new/pg_hba.conf"; }'
    done = shell(f'. "$1"; . "$2"; {made}; PGDATA=$3 password=p child=; make_cluster', RULE, CLUSTER, tmp_path / "17")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "17.new/pg_hba.conf").read_text().splitlines()
    assert lines == ["host all all all scram-sha-256", "host replication all all scram-sha-256"]


def test_a_half_made_cluster_is_not_another_versions(tmp_path):
    (tmp_path / "17.new").mkdir()
    (tmp_path / "17.new/PG_VERSION").write_text("17\n")
    done = shell('. "$1"; . "$2"; volume=$3 version=17; refuse_other_versions', RULE, CLUSTER, tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")


def zone(moments: list[tuple[int, int]], kinds: list[tuple[int, int, str]]) -> bytes:
    """The first block of a file in RFC 8536."""
    letters, starts = b"", []
    for _, _, word in kinds:
        starts.append(len(letters))
        letters += word.encode() + b"\0"
    counts = struct.pack(">6I", 0, 0, 0, len(moments), len(kinds), len(letters))
    content = b"TZif2" + bytes(15) + counts + b"".join(struct.pack(">i", moment) for moment, _ in moments)
    content += bytes(kind for _, kind in moments)
    rows = zip(kinds, starts, strict=True)
    return content + b"".join(struct.pack(">iBB", offset, dst, at) for (offset, dst, _), at in rows) + letters


def test_time_zones_become_rows_that_names_of_the_same_zone_share(tmp_path):
    folder = tmp_path / "root/usr/share/zoneinfo"
    (folder / "Europe").mkdir(parents=True)
    (folder / "right").mkdir()
    (tmp_path / "tree/usr/share").mkdir(parents=True)
    paris = zone([(-5, 1), (7, 0)], [(3600, 0, "CET"), (7200, 1, "CEST")])
    for name in ("Europe/Paris", "MET", "right/Paris"):
        (folder / name).write_bytes(paris)
    (folder / "UTC").write_bytes(zone([], [(0, 0, "UTC")]))
    (folder / "zone.tab").write_text("no zone\n")
    subprocess.run([sys.executable, DATABASES / "mysql/time-zones", tmp_path / "root", tmp_path / "tree"], check=True)
    sql = gzip.decompress((tmp_path / "tree/usr/share/time-zones.sql.gz").read_bytes()).decode().splitlines()
    assert [line.partition(" values ")[2] for line in sql] == [
        "(1,'N'),(2,'N');",
        "('Europe/Paris',1),('MET',1),('UTC',2);",
        "(1,-5,1),(1,7,0);",
        "(1,0,3600,0,'CET'),(1,1,7200,1,'CEST'),(2,0,0,0,'UTC');",
    ]
