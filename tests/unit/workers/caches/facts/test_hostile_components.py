"""What a tenant could put into files to hide components: each costs its own component alone, and is declared."""

from __future__ import annotations

import io
import json
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from buildfarm.releases.facts.components.layer import decode, merged
from workers.caches.facts.inspector.components import inventory
from workers.caches.facts.inspector.components.found import DamagedError, read_json
from workers.caches.facts.inspector.components.inventory import Inventory
from workers.caches.facts.inspector.main import read_layer

MS = json.dumps({"name": "ms", "version": "2.1.3"}).encode()


def jar(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def pom(artifact, version="1"):
    text = f"groupId=g\nartifactId={artifact}\n" + (f"version={version}\n" if version else "")
    return {f"META-INF/maven/g/{artifact}/pom.properties": text}


def layer_of(files, kind=tarfile.REGTYPE):
    """What the farm reads of a layer of these files."""
    content, parts = io.BytesIO(), Inventory()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "x" if kind != tarfile.REGTYPE else ""
            member.size = len(text) if kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(text))
    read_layer(io.BytesIO(content.getvalue()), parts)
    return decode(parts.encode())


def names(found):
    return sorted(one.name for components in found.files.values() for one in components)


@pytest.mark.parametrize("name", ["a/", "/", "@a//b", "/a"])
def test_a_name_with_an_empty_part_is_no_name(name):
    found = layer_of({
        "app/node_modules/x/package.json": json.dumps({"name": name, "version": "1"}).encode(),
        "app/node_modules/ms/package.json": MS,
    })  # fmt: skip
    assert (names(found), list(found.unread)) == (["ms"], ["app/node_modules/x/package.json"])


def test_a_qualifier_is_a_text_whatever_a_file_says():
    text = b"Package: jq\nVersion: 1\nArchitecture: a&1b=2\n\nPackage: jo\nVersion: 1\nArchitecture: \x1b[m\n"
    found = layer_of({"app/.apt/var/lib/dpkg/status.d/x": text})
    purls = {one.purl("debian-13") for components in found.files.values() for one in components}
    assert purls == {
        "pkg:deb/debian/jq@1?arch=a%261b%3D2&distro=debian-13", "pkg:deb/debian/jo@1?distro=debian-13",
    }  # fmt: skip


def test_a_path_that_is_too_long_hides_itself_alone():
    long = "app/" + "\U000e0001" * 250
    found = layer_of({
        f"{long}/node_modules/x/package.json": MS, "app/node_modules/ms/package.json": MS, f"{long}/.wh.x": b"",
    })  # fmt: skip
    assert names(found) == ["ms"]
    assert set(found.unread.values()) == {"its path is too long"}


@settings(max_examples=100, deadline=None)
@given(some.lists(some.tuples(some.text(max_size=400), some.text(max_size=20)), max_size=4))
@example([(".apt", "")])
def test_whatever_the_names_are_the_farm_can_read_and_write_the_list(rows):
    parts = Inventory()
    for path, name in rows:
        for place in (f"app/{path}/node_modules/x/package.json", f"{path}/.wh.{name}", f"app/{path}.jar"):
            parts.entry(place)
        parts.text(f"app/{path}/node_modules/x/package.json", json.dumps({"name": name, "version": "1"}).encode())
    found = decode(parts.encode())
    of_files = {place: why for place, why in found.unread.items() if place != "app/.apt/"}  # said of all in it
    assert (set(found.files), of_files) == (set(parts.files), parts.unread)
    assert all(one.purl() for components in found.files.values() for one in components)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("app/x.jar", jar({"BOOT-INF/lib/a.jar": jar({"a.class": ""}), "BOOT-INF/lib/b.jar": jar(pom("ms"))})),
        ("app/x.jar", jar({"BOOT-INF/lib/a.jar": "no archive", "BOOT-INF/lib/b.jar": jar(pom("ms"))})),
        ("app/x.jar", jar({**pom("x", ""), **pom("ms")})),
        ("var/lib/dpkg/status", b"Package: x y\nVersion: 1\n\nPackage: ms\nVersion: 1\n"),
        ("app/vendor/composer/installed.json",
         b'[{"name": "x"}, {"name": 5, "version": "1"}, 7, {"name": "ms", "version": "1"}]'),
    ],
)  # fmt: skip
def test_one_damaged_entry_costs_no_other(path, content):
    found = layer_of({path: content})
    assert [name.removeprefix("g/") for name in names(found)] == ["ms"]
    assert list(found.unread) == [path]


def test_json_is_measured_in_time_that_grows_with_its_length():
    started = time.process_time()
    for content in (b'{"a":"' + b'\\"' * 400_000, b'"\\\n' * 400_000, b'{"a":"' + b"\\" * 900_001):
        with pytest.raises(DamagedError):
            read_json(content)
    assert time.process_time() - started < 5


def test_all_files_of_a_layer_together_have_a_bound_of_time(monkeypatch):
    def slow(content, path):
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass
        return iter(())

    monkeypatch.setattr(inventory, "_LAYER_SECONDS", 0.1)
    monkeypatch.setattr(inventory, "_row", lambda name: (None, 10, slow))
    parts = Inventory()
    for number in range(20):
        parts.text(f"app/{number}", b"")
    assert set(parts.unread.values()) == {"the layer's files take too long"}
    assert 10 < len(parts.unread) < 20


def test_more_unread_files_than_are_named_are_counted(monkeypatch):
    monkeypatch.setattr(inventory, "_UNREAD_MAX", 3)
    found = layer_of({f"app/node_modules/x{number}/package.json": b"{" for number in range(5)})
    assert found.unread[""] == "2 more files could not be read"
    monkeypatch.setattr(inventory, "_REMOVED_MAX", 1)
    found = layer_of({"app/.wh.a": b"", "app/.wh.b": b""})
    assert (found.removed, set(found.unread.values())) == (("app/a",), {"the layer removes too many files"})


@pytest.mark.parametrize(
    "upper",
    [
        layer_of({"app/node_modules/ms/package.json": b""}),
        layer_of({"app/node_modules/ms/package.json": b"{}"}),
        layer_of({"app/node_modules/ms/package.json": b"{"}),
        layer_of({"app/node_modules/ms/package.json": b""}, tarfile.SYMTYPE),
    ],
)
def test_a_file_that_was_emptied_or_replaced_hides_the_lower_one(upper):
    assert names(merged([layer_of({"app/node_modules/ms/package.json": MS}), upper])) == []


def test_a_hard_link_is_declared():
    found = layer_of({"app/node_modules/ms/package.json": b""}, tarfile.LNKTYPE)
    assert found.unread == {"app/node_modules/ms/package.json": "it is a hard link"}


def test_a_folder_of_the_apt_buildpack_elsewhere_hides_nothing():
    assert names(layer_of({"app/x/.apt/node_modules/ms/package.json": MS})) == ["ms"]


def test_a_list_that_is_too_large_is_declared_and_leaves_the_facts_readable(monkeypatch):
    monkeypatch.setattr(inventory, "_PACKED_BYTES_MAX", 100)
    found = layer_of({f"app/node_modules/x{number}/package.json": MS for number in range(100)})
    assert (found.files, found.unread) == ({}, {"": "the list of its components is too long"})


@pytest.mark.parametrize(
    ("files", "unread"),
    [
        ({"app/.apt/usr/lib/x.so": b"x"}, {"app/.apt/": "its packages are in no list"}),
        ({"app/.apt/usr/lib/x.so": b"x", "app/.apt/var/lib/dpkg/status.d/x": b"Package: x\nVersion: 1\n"}, {}),
    ],
)
def test_what_apt_has_unpacked_is_declared_if_no_list_names_it(files, unread):
    assert layer_of(files).unread == unread


@pytest.mark.parametrize(
    ("path", "is_own"),
    [
        ("app/gems/shop", True), ("app/x/.node/shop", True), ("layers/my_pack/shop/bin/shop", True),
        ("app/vendor/bundle/ruby/3.3.0/gems/x-1/x.so", False), ("app/vendor/bundle/ruby/3.3.0/extensions/x.so", False),
        ("layers/my_pack/jre/bin/java", False), ("layers/my_pack/python/bin/python3.13", False),
        ("layers/my_pack/python/lib/python3.13/lib-dynload/x.so", False), ("usr/bin/shop", False),
        ("app/.apt/usr/bin/shop", False),
    ],
)  # fmt: skip
def test_programs_that_no_package_brings_are_declared_wherever_they_are(path, is_own):
    parts = Inventory()
    parts.program(path, io.BytesIO(Path("/bin/true").read_bytes()))
    assert list(parts.unread) == ([path] if is_own else [])
