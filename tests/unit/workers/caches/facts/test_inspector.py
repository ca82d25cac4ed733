"""What the inspector finds in a layer, and that hostile files cost bounded time and only their own layer."""

from __future__ import annotations

import io
import json
import random
import struct
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from testkit.registry.elf import library
from workers.caches.facts.inspector import main
from workers.caches.facts.inspector.main import read_layer

X86 = "lib:x86_64"


def layer(entries):
    """A tar stream of files by name: their bytes, or a link's target as text."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", errors="surrogateescape") as tar:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.mode = 0o755
            if isinstance(content, str):
                is_hard = content.startswith("hard link to ")
                entry.type = tarfile.LNKTYPE if is_hard else tarfile.SYMTYPE
                entry.linkname = content.removeprefix("hard link to ")
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    archive.seek(0)
    return archive


def facts_of(entries):
    return read_layer(layer(entries)).document()


def needs_of(entries):
    return set(facts_of(entries)["needs"])


def brings_of(entries):
    return {one for what in facts_of(entries)["brings"].values() for one in what}


def mapped(part):
    """A file that this process has mapped: the C library, or Python itself."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if part in line.rpartition("/")[2]:
            return Path(line.split(maxsplit=5)[5])
    raise LookupError(part)


def test_a_library_brings_its_name_and_needs_others():
    found = facts_of({"app/lib/libx.so": library("libx.so.1", ["libfoo.so.3", "libc.so.6"])})
    assert found["needs"] == {f"{X86}/libfoo.so.3": ["app/lib/libx.so", 1], f"{X86}/libc.so.6": ["app/lib/libx.so", 1]}
    assert found["brings"] == {"app/lib/libx.so": [f"{X86}/libx.so.1"]}
    assert found["files"] == []
    assert brings_of({"usr/lib/libplain.so": library("", ["libc.so.6"])}) == {f"{X86}/libplain.so"}


@pytest.mark.skipif(sys.platform != "linux", reason="ELF")
def test_real_programs_have_versions_and_an_interpreter():
    machine = "lib:x86_64" if sys.maxsize > 2**32 else "lib:i386"
    libc = brings_of({"usr/lib/libc.so.6": mapped("libc.so.6").read_bytes()})
    assert any(one.startswith("glibc:2.") for one in libc)
    assert any(one.startswith(f"{machine}/libc.so.6(GLIBC_2.") for one in libc) or "x86_64" not in machine
    python = needs_of({"app/python": Path(sys.executable).resolve().read_bytes()})
    assert any(one.startswith("path:/lib") and "ld-" in one for one in python)
    assert any("(GLIBC_2." in one for one in python)


@pytest.mark.parametrize(
    ("name", "content", "need"),
    [
        ("app/run", b"#!/usr/bin/perl -w\n", "path:/usr/bin/perl"),
        ("app/run", b"#! /usr/bin/env python3\n", "path:/usr/bin/env"),
        ("app/bin/python", "/usr/bin/python3.13", "path:/usr/bin/python3.13"),
        ("app/.venv/pyvenv.cfg", b"home = /usr/bin\nversion = 3.13.5\n", "python:3.13"),
        ("app/.venv/lib/python3.13/site-packages/x.py", b"1", "python:3.13"),
        ("app/x.cpython-313-x86_64-linux-gnu.so", b"1", "python:3.13"),
        ("app/vendor/bundle/ruby/3.3.0/gems/x.rb", b"1", "ruby:3.3.0"),
        ("app/ext/no-debug-non-zts-20240924/x.so", b"1", "php:20240924"),
        ("app/local/lib/perl5/5.40.1/x86_64-linux-gnu/auto/X/X.so", b"1", "perl:5.40"),
        ("app/A.class", b"\xca\xfe\xba\xbe\0\0\0\x41", "java:65"),
    ],
)
def test_other_needs(name, content, need):
    assert need in needs_of({name: content})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("app/run", b"#!/app/bin/python\n"), ("app/run", b"#!python\n"), ("app/run", b"#!\n"), ("app/link", "/app/x"),
        ("app/link", "../x"), ("app/link", "/layers/x"), ("app/x.abi3.so", b"1"), ("app/x.txt", b"\x7fELF"),
        ("app/A.class", b"\xca\xfe"),
    ],
)  # fmt: skip
def test_what_needs_nothing(name, content):
    found = facts_of({name: content})
    assert (found["needs"], found["unknown"]) == ({}, "")


@pytest.mark.parametrize(
    ("name", "content", "brought"),
    [
        ("usr/bin/python3.13", b"1", "python:3.13"),
        ("usr/lib/x86_64-linux-gnu/ruby/3.3.0/x.so", b"1", "ruby:3.3.0"),
        ("usr/lib/php/20240924/x.so", b"1", "php:20240924"),
        ("usr/lib/x86_64-linux-gnu/perl/5.40/x.pm", b"1", "perl:5.40"),
        ("usr/lib/x86_64-linux-gnu/libnode.so.115", b"1", "node:115"),
        ("app/.heroku/node/bin/node", b"1", "own:node"),
        ("app/.heroku/node/include/node/node_version.h", b"#define NODE_MODULE_VERSION 137\n", "node:137"),
        ("usr/lib/jvm/java-21-openjdk-amd64/release", b'JAVA_VERSION="21.0.8"\n', "java:65"),
        ("app/.jdk/release", b'JAVA_VERSION="1.8.0_400"\n', "java:52"),
    ],
)
def test_what_languages_bring(name, content, brought):
    assert brought in brings_of({name: content})


def test_jars_say_which_java_they_need():
    jar = io.BytesIO()
    with zipfile.ZipFile(jar, "w") as file:
        file.writestr("META-INF/versions/25/A.class", b"\xca\xfe\xba\xbe\0\0\0\x45")
        file.writestr("A.class", b"\xca\xfe\xba\xbe\0\0\0\x3d")
        file.writestr("B.class", b"\xca\xfe\xba\xbe\0\0\0\x41")
    assert needs_of({"app/a.jar": jar.getvalue()}) == {"java:61", "java:65"}


@pytest.mark.parametrize("way", ["password", "bzip2", "damaged"])
def test_jars_that_no_java_opens_need_nothing(way):
    jar = io.BytesIO()
    with zipfile.ZipFile(jar, "w", zipfile.ZIP_BZIP2 if way == "bzip2" else zipfile.ZIP_STORED) as file:
        file.writestr("A.class", b"\xca\xfe\xba\xbe\0\0\0\x45")
    content = bytearray(jar.getvalue())
    if way == "password":
        content[6] |= 1
        content[content.index(b"PK\1\2") + 8] |= 1
    elif way == "damaged":
        del content[-30:]
    found = facts_of({"app/a.jar": bytes(content), "app/z": b"#!/bin/sh\n"})
    assert (set(found["needs"]), found["unknown"]) == ({"path:/bin/sh"}, "")


def test_a_hard_link_counts_by_its_name():
    entries = {"usr/bin/python3": b"1", "usr/bin/python3.13": "hard link to usr/bin/python3"}
    assert brings_of(entries) == {"python:3.13"}


@pytest.mark.parametrize("name", ["/etc/passwd", ".//etc/passwd", "./etc/passwd", "etc/../etc/passwd", "../etc/passwd"])
def test_names_are_relative_to_the_root(name):
    assert facts_of({name: b"x"})["files"] == ["etc/passwd"]


@pytest.mark.parametrize(
    ("name", "content", "need"),
    [
        ("app/run", b"#!/usr/bin/env python3\n", "command:python3"),
        ("app/run", b"#!/usr/bin/env -S node --test\n", "command:node"),
        ("app/run", b"#! /usr/bin/env A=1 perl\n", "command:perl"),
        ("etc/buildfarm/processes/web", b"gunicorn app:app", "command:gunicorn"),
        ("etc/buildfarm/processes/web", b"exec PORT=1 php -S [::]:8080\n", "command:php"),
        ("etc/buildfarm/processes/web", b"./start", None),
        ("etc/buildfarm/processes/web", b"$HOME/start", None),
        ("etc/buildfarm/processes/web", b"", None),
        ("app/run", b"#!/usr/bin/env\n", None),
    ],
)
def test_commands_that_a_path_finds(name, content, need):
    assert [one for one in needs_of({name: content}) if one.startswith("command:")] == ([need] if need else [])


def test_an_apps_own_programs_are_brought_within_a_bound(monkeypatch):
    entries = {"app/.venv/bin/gunicorn": b"#!x", "app/node_modules/.bin/tsc": "../typescript/x", "usr/bin/perl": b"1"}
    assert brings_of(entries) == {"command:gunicorn", "command:tsc", "own:perl"}
    many = brings_of({f"app/bin/{number}": b"1" for number in range(400)})
    assert (len(many), "command:*" in many) == (301, True)


def for_debuggers():
    """As `objcopy --only-keep-debug` leaves a library: its headers are there, and the bytes of its segments are not."""
    text = bytearray(library("libx.so.1", ["libfoo.so.3"]))
    struct.pack_into("<Q", text, 64 + 32, 100)  # what is left of the first segment
    struct.pack_into("<Q", text, 64 + 56 + 32, 0)  # and of the dynamic one
    return bytes(text)


@pytest.mark.parametrize("content", [for_debuggers(), library("libx.so.1", ["libfoo.so.3"])[:-20]])
def test_files_that_cannot_be_loaded_need_nothing_and_hide_no_other(content):
    found = facts_of({"app/x.debug": content, "app/y.so": library("", ["liby.so.1"])})
    assert (set(found["needs"]), found["unknown"]) == ({f"{X86}/liby.so.1"}, "")


def test_what_a_base_has_is_listed_with_what_it_takes_away():
    found = facts_of({"etc/passwd": b"x", "bin": "usr/bin", "usr/.wh.old": b"", "var/.wh..wh..opq": b"", "app/x": b"x"})
    assert found["files"] == ["bin", "etc/passwd"]
    assert found["links"] == {"bin": "usr/bin"}
    assert found["removed"] == ["usr/old", "var/"]


def test_names_that_are_not_valid_text_are_kept():
    found = facts_of({b"app/\xff\x1b[31m".decode(errors="surrogateescape"): b"#!/bin/sh\n"})
    assert json.loads(json.dumps(found))["needs"]["path:/bin/sh"][0] == "app/\udcff\x1b[31m"


def test_the_same_tree_has_equal_facts():
    entries = {f"app/lib{n}.so": library(f"lib{n}.so.1", [f"lib{m}.so.1" for m in range(30)]) for n in range(30)}
    first, second = (json.dumps(facts_of(entries), sort_keys=True) for _ in range(2))
    assert first == second


def hostile():
    """Files that begin like ELF files, by what is wrong with them."""
    good = bytearray(library("libx.so.1", ["libc.so.6"]))
    yield "truncated", bytes(good[:100])

    def changed(offset, form, *values):
        found = bytearray(good)
        struct.pack_into(form, found, offset, *values)
        return bytes(found) + bytes(4096)

    yield "segments far beyond the end", changed(32, "<Q", 1 << 60)
    yield "many segments", changed(56, "<H", 0xFFFE)
    yield "huge count of sections", changed(40, "<Q", 64) + b""
    for count in (0, 0xFFFF):
        found = bytearray(changed(40, "<Q", 64))
        struct.pack_into("<HHH", found, 58, 64, count, 1)
        yield f"sections in the segments, {count} of them", bytes(found)
    strings = good.index(b"libc.so.6")
    yield "a name without an end", bytes(good[:strings]) + b"a" * (1 << 20)
    yield "noise", bytes(good[:64]) + random.Random(1).randbytes(100_000)
    yield "a version table that goes round", looping()


def looping():
    """A section of needed versions, four billion of them, each of which is followed by itself."""
    text = bytearray(library("libx.so.1", ["libc.so.6"]))
    at = len(text)
    text += struct.pack("<HHIII", 1, 0xFFFF, 1, 16, 0)  # vn_next leads to itself
    text += struct.pack("<IHHII", 0, 0, 0, 1, 0)  # and so does vna_next
    names_at = len(text)
    text += b"\0.gnu.version_r\0"
    sections_at = len(text)
    form = "<IIQQQQIIQQ"
    text += bytes(64)
    text += struct.pack(form, 1, 0x6FFFFFFE, 0, 0, at, 32, 2, 0xFFFFFFFF, 4, 0)
    text += struct.pack(form, 0, 3, 0, 0, names_at, 16, 0, 0, 1, 0)
    struct.pack_into("<Q", text, 40, sections_at)
    struct.pack_into("<HHH", text, 58, 64, 3, 2)
    return bytes(text)


@pytest.mark.parametrize(("kind", "content"), list(hostile()))
def test_a_hostile_file_costs_bounded_time(kind, content, monkeypatch):
    monkeypatch.setattr(main, "_FILE_SECONDS", 0.5)
    started = time.process_time()
    found = facts_of({"app/a.so": library("", ["liba.so.1"]), "app/hostile.so": content, "app/z": b"#!/bin/sh\n"})
    assert time.process_time() - started < 5
    assert found["needs"].keys() >= {f"{X86}/liba.so.1", "path:/bin/sh"}
    if kind == "a version table that goes round":
        assert found["unknown"].startswith("app/hostile.so: ")


def test_after_a_damaged_file_others_are_read_within_a_budget(monkeypatch):
    monkeypatch.setattr(main, "_FILE_SECONDS", 0.2)
    monkeypatch.setattr(main, "_DAMAGED_SECONDS", 0.6)
    started = time.process_time()
    found = facts_of({"app/0.so": looping(), "app/1.so": library("", ["liba.so.1"])})
    assert f"{X86}/liba.so.1" in found["needs"]
    found = facts_of({f"app/{number}.so": looping() for number in range(100)})
    assert found["unknown"] == "app/0.so: to read it takes too long"
    assert time.process_time() - started < 3
