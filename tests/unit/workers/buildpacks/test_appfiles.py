"""The app's own files: in any encoding, by links that stay in the app, and refused or ignored before the compile."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.errors import AppError, CompileError
from buildfarm.sources.mistakes import PACKAGE
from testkit.builds import write_files
from workers.attempt.signals import drop
from workers.build_folder import BuildFolder
from workers.buildpacks.appfiles import APP_JSON_BYTES_MAX, read_file, read_manifests
from workers.buildpacks.manifests import read_manifests as parse_manifests
from workers.buildpacks.procfile import parse_procfile

ROOT = Path(__file__).parents[4]


def read(folder, log=drop):
    return read_manifests(BuildFolder(folder), log)


FILES = {
    "Procfile": "web: ./serve\n",
    ".buildpacks": "static\n",
    "app.json": '{"env": {"A": "1"}}',
    "scalingo.json": '{"env": {"A": "1"}}',
    "project.toml": '[[io.buildpacks.build.env]]\nname = "A"\nvalue = "1"\n',
}


@pytest.mark.kind("text files")
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_made_on_windows_is_read(name, encoding, tmp_path, record_property):
    (tmp_path / name).write_bytes(FILES[name].replace("\n", "\r\n").encode(encoding))
    found = read(tmp_path)
    types = parse_procfile(read_file(BuildFolder(tmp_path), "Procfile") or "")
    seen = {**types, **found.env, **{str(item): "" for item in found.buildpacks}}
    assert seen in ({"web": "./serve"}, {"A": "1"}, {"static": ""})
    assert found.warnings == ()
    record_property("seen", f"read {seen}")


@pytest.mark.kind("text files")
@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("Procfile", b"web: caf\xe9\n", "The Procfile is not UTF-8: line 1 has the byte 0xE9."),
        ("Procfile", b"<<<<<<< HEAD\nweb: a\n", "Procfile, line 1"),
        ("Procfile", b"heroku ps:scale web=1\nweb:\n", "Procfile, line"),
        (".buildpacks", "ftp://x\n".encode("utf-16"), ".buildpacks, line 1"),
        ("project.toml", b"a = ", "project.toml is not TOML"),
        ("scalingo.json", b"\xff\xfe{", "The scalingo.json is UTF-16, and is cut off"),
    ],
    ids=["Windows-1252", "merge markers", "a pasted command", "a wrong buildpack in UTF-16", "TOML", "damaged UTF-16"],
)
def test_a_mistake_is_reported_before_the_compile(name, content, told, tmp_path, record_property):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AppError) as caught:
        read(tmp_path)
    assert caught.value.message.startswith(told)
    record_property("seen", caught.value.message)


@pytest.mark.kind("text files")
@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("Aptfile", b"# caf\xe9\nsl\n", "The Aptfile is not UTF-8: line 1 has the byte 0xE9."),
        ("Aptfile", b"sl\ncow_say\n", "Aptfile, line 2: 'cow_say' is not the name of a package."),
        ("Aptfile", b"sl\r\nhttps://example.org/a.rpm\r\n", "Aptfile, line 2: 'https://example.org/a.rpm'"),
        ("Aptfile", b"\xff\xfes\0l", "The Aptfile is UTF-16, and is cut off or damaged."),
        ("requirements.txt", b"flask\n# caf\xe9\n", "The requirements.txt is not UTF-8: line 2 has the byte 0xE9."),
        ("requirements.txt", b"# coding: nonsense\n# caf\xe9\n", "The requirements.txt is not UTF-8: line 2"),
        ("requirements.txt", "flask\n".encode("utf-16-le"), "The requirements.txt is UTF-16 without a byte order"),
        ("requirements.txt", b"\xff\xfef", "The requirements.txt is UTF-16, and is cut off or damaged."),
        ("requirements.txt", b"<<<<<<< HEAD\nflask\n=======\n", "requirements.txt, line 1 is a merge marker"),
    ],
    ids=[
        "Aptfile in Windows-1252", "a name with an underscore", "an .rpm", "half of an Aptfile in UTF-16",
        "requirements in Windows-1252", "an unknown encoding", "no mark", "half of requirements in UTF-16",
        "a merge marker",
    ],
)  # fmt: skip
def test_a_mistake_in_a_buildpacks_own_file_is_known_before_the_compile(name, content, told, tmp_path, record_property):
    (tmp_path / name).write_bytes(content)
    (buildpack, error), *others = read(tmp_path).mistakes.items()
    assert (buildpack, others) == ({"Aptfile": "apt", "requirements.txt": "python"}[name], [])
    assert error.message.startswith(told)
    record_property("seen", error.message)


@pytest.mark.kind("text files")
@pytest.mark.parametrize(
    "files",
    [
        {"Aptfile": b"sl cowsay # two\n\nlibpq5=15.1-1~deb12u1\nhttp://example.org/a_1.deb\n# c#\n"},
        {"Aptfile": "sl\r\n".encode("utf-16"), "requirements.txt": "flask\r\n".encode("utf-16")},
        {"Aptfile": b"\xef\xbb\xbfsl\r", "requirements.txt": b"\xef\xbb\xbfflask\r"},
        {"requirements.txt": b"# -*- coding: latin-1 -*-\n# caf\xe9\nflask\n"},
        {"requirements.txt": b"# one\n# vim: set fileencoding=cp1252 :\n# caf\xe9\n"},
        {"requirements.txt": b"# a NUL: \0\nflask ; python_version > '3'\n"},
        {"requirements.txt": b"# caf\xe9\n", "uv.lock": b""},
        {"requirements.txt": b"x" * (4 * 1024 * 1024) + b"\xe9"},
    ],
    ids=[
        "names, versions and a URL", "UTF-16 and CRLF", "a mark and CR", "Latin-1 that is declared",
        "declared in line 2", "a NUL", "a lock file decides", "more than 4 MiB",
    ],
)  # fmt: skip
def test_what_a_buildpack_can_read_is_no_mistake(files, tmp_path, record_property):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert read(tmp_path).mistakes == {}
    record_property("seen", "no mistake")


def test_links_and_folders_of_these_names_are_left_to_their_buildpack(tmp_path):
    (tmp_path / "Aptfile").symlink_to("/etc/passwd")
    (tmp_path / "requirements.txt").mkdir()
    assert read(tmp_path).mistakes == {}


def test_the_names_of_packages_are_those_that_the_buildpack_takes():
    script = (ROOT / "images/buildpacks/apt/bin/compile").read_text()
    assert f"=~ ^{PACKAGE}$ ]]" in script


@pytest.mark.kind("text files")
@pytest.mark.parametrize(
    "target",
    ["deploy/Procfile", "./deploy/../deploy/Procfile", "/app/deploy/Procfile", "link/Procfile", "chain"],
)
def test_a_procfile_that_is_a_link_inside_the_app_is_read(target, tmp_path, record_property):
    write_files(tmp_path, {"deploy/Procfile": "web: linked\n"})
    (tmp_path / "link").symlink_to("deploy")
    (tmp_path / "chain").symlink_to("link/Procfile")
    (tmp_path / "Procfile").symlink_to(target)
    assert parse_procfile(read_file(BuildFolder(tmp_path), "Procfile")) == {"web": "linked"}
    record_property("seen", f"Procfile -> {target} read")


@pytest.mark.kind("text files")
@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("../secret", "leads out of the app"),
        ("/etc/passwd", "leads out of the app"),
        ("link/../../secret", "leads out of the app"),
        ("/application", "leads out of the app"),
        ("Procfile", "in a circle"),
        ("absent", "which is not in the app"),
        ("out/secret", "leads out of the app"),
    ],
)
def test_a_procfile_that_is_a_link_out_of_the_app_is_refused(target, told, tmp_path, record_property):
    (tmp_path / "secret").write_text("web: the node's own\n")
    app = write_files(tmp_path / "app", {"deploy/x": ""})
    (app / "link").symlink_to("deploy")
    (app / "out").symlink_to("..")
    (app / "Procfile").symlink_to(target)
    with pytest.raises(CompileError, match=told):
        read_file(BuildFolder(app), "Procfile")
    record_property("seen", told)


PARTS = ["a", "b", "..", ".", "", "a/b", "/app", "/app/a", "/", "a/../b", "../app/a"]


@given(st.lists(st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).map("/".join), min_size=1, max_size=5))
@settings(max_examples=50)
def test_no_chain_of_links_reads_a_file_outside_the_folder(tmp_path_factory, targets):
    """Each of the links a, b, … leads to one of the targets; the node's own file is beside the folder."""
    root = tmp_path_factory.mktemp("links")
    app = root / "app"
    app.mkdir()
    for place in (root / "a", root / "b"):
        place.write_text("the node's own")
    for name, target in zip("abcde", targets, strict=False):
        if target:
            (app / name).symlink_to(target)
    for name in "abcde":
        with suppress(CompileError):
            assert read_file(BuildFolder(app), name) is None


@pytest.mark.kind("config vars")
@pytest.mark.parametrize(
    ("given_value", "wanted"),
    [
        ("true", "true"),
        ("false", "false"),
        ("1.10", "1.10"),
        ("1e3", "1e3"),
        ("10000000000000000000000", None),
        ('"a\\n"', "a\n"),
    ],
    ids=["true", "false", "1.10", "1e3", "a number of 23 digits", "a newline"],
)
@pytest.mark.parametrize(
    "form", ['{{"env": {{"A": {}}}}}', '{{"env": {{"A": {{"value": {}}}}}}}'], ids=["short", "long"]
)
def test_a_value_in_app_json_is_what_its_author_wrote(given_value, wanted, form, record_property):
    text = form.format(given_value)
    assert parse_manifests({"app.json": text}.get).env == {"A": wanted or given_value}
    record_property("seen", f"{given_value} is {wanted or given_value!r}")


FOREIGN = {
    "an Expo app": '{"expo": {"name": "x", "slug": "x"}, "env": {"APP-ID": "1", "ENV": "prod"}}',
    "one impossible name": '{"env": {"A-B": "1", "ENV": {"value": "prod"}, "LD_LIBRARY_PATH": "/app/lib"}}',
    "a list as a value": '{"env": {"ENV": "prod", "B": ["x"]}}',
    "a formation of words": '{"env": {"ENV": "prod"}, "formation": {"web": {"quantity": "two"}}}',
    "buildpacks as a mapping": '{"env": {"ENV": "prod"}, "buildpacks": {"a": 1}}',
}


@pytest.mark.kind("config vars")
@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_app_json_warns_and_gives_what_can_be_used(text, tmp_path, record_property):
    (tmp_path / "app.json").write_text(text)
    log = []
    assert read(tmp_path, log.append).env["ENV"] == "prod"
    assert len(log) == 1
    assert log[0].startswith(b" !     app.json: ")
    assert log[0].endswith(b" It is ignored.\n")
    record_property("seen", log[0].decode().strip(" !\n"))


@pytest.mark.kind("config vars")
@pytest.mark.parametrize(
    "content",
    [b"{", b"[1]", b"// comment\n{}", b"\xe9", b'{"x": "' + b"y" * APP_JSON_BYTES_MAX + b'"}'],
    ids=["half a file", "a list", "a comment", "Latin-1", "over 1 MiB"],
)
def test_an_app_json_that_cannot_be_read_is_ignored_with_a_warning(content, tmp_path, record_property):
    (tmp_path / "app.json").write_bytes(content)
    log = []
    assert (read(tmp_path, log.append).env, len(log)) == ({}, 1)
    record_property("seen", log[0].decode().strip(" !\n"))


def test_a_large_app_json_of_another_tool_is_read(tmp_path):
    large = {"expo": {"permissions": ["x" * 1000] * 300}, "env": {"A": "1"}}
    (tmp_path / "app.json").write_text(json.dumps(large))
    assert read(tmp_path).env == {"A": "1"}
