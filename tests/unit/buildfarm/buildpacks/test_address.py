"""How buildpacks are named, and what an app's own files say of them."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.buildpacks.address import (
    ArchiveBuildpack,
    ArtifactBuildpack,
    BundledBuildpack,
    GitBuildpack,
    RegistryBuildpack,
    parse_buildpack,
)
from buildfarm.buildpacks.pin import pin
from buildfarm.errors import CompileError, DetectError, RequestError
from buildfarm.oci.tree import scan
from workers.buildpacks.manifests import read_manifests
from workers.buildpacks.slugignore import ignored_names

HEX = "a" * 64
COMMIT = "b" * 40


@pytest.mark.parametrize(
    ("text", "buildpack", "name", "pinned"),
    [
        ("python", BundledBuildpack("python"), "python", True),
        ("heroku/nodejs", BundledBuildpack("nodejs"), "nodejs", True),
        ("https://h/o/heroku-buildpack-Go.git#v1", GitBuildpack("https://h/o/heroku-buildpack-Go.git", "v1"),
         "heroku-buildpack-go", False),
        ("https://h/o/x", GitBuildpack("https://h/o/x", "HEAD"), "x", False),
        (f"git@h:x.git#{COMMIT}", GitBuildpack("ssh://git@h/x.git", COMMIT), "x", True),
        ("oci://h:5000/a/b:v1", RegistryBuildpack("h:5000", "a/b", "v1"), "b", False),
        (f"oci://h/a/b@sha256:{HEX}", RegistryBuildpack("h", "a/b", f"sha256:{HEX}"), "b", True),
        (f"ssh://git@h/x#{COMMIT}", GitBuildpack("ssh://git@h/x", COMMIT), "x", True),
        ("https://h/x.tgz?a=b", ArchiveBuildpack("https://h/x.tgz?a=b"), "x", False),
        (f"https://h/x.tar.gz#sha256={HEX}", ArchiveBuildpack("https://h/x.tar.gz", HEX), "x", True),
        (f"oci:buildpacks/x@sha256:{HEX}", ArtifactBuildpack("buildpacks/x", f"sha256:{HEX}"), "x", True),
        ("oci:buildpacks/a/x:v1", ArtifactBuildpack("buildpacks/a/x", "v1"), "x", False),
    ],
)  # fmt: skip
def test_a_buildpacks_name_says_where_it_comes_from(text, buildpack, name, pinned):
    found = parse_buildpack(text)
    assert (found, found.name, found.pinned) == (buildpack, name, pinned)
    assert parse_buildpack(str(found)) == found


@pytest.mark.parametrize(
    "text",
    ["", "Python", "../x", "ftp://h/x", "https://", "https://h/a b", "oci:apps/t/a@sha256:" + HEX, "oci:buildpacks/x",
     "https://h/x.tgz#sha256=00", "https://h/x.git#-option", "file:///etc", "ext::sh -c x", "git@h::x.git"],
)  # fmt: skip
def test_what_names_none_is_refused_with_how_to_write_it(text):
    with pytest.raises(ValueError, match=r"buildpack|#"):
        parse_buildpack(text)


@pytest.mark.parametrize(
    "text",
    [f"https://user:s3cr3t@h/x.git#{COMMIT}", "https://s3cr3t@h/x.git", "ssh://git:s3cr3t@h/x", "git://u:s3cr3t@h/x",
     "https://u:s3cr3t@h/x.tgz"],
)  # fmt: skip
def test_an_address_with_a_password_or_token_is_refused_without_showing_it(text):
    with pytest.raises(ValueError, match="do not put a password or token into it") as refused:
        parse_buildpack(text)
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize("text", ["git://[abc/x", "https://[abc/x.tgz", "ssh://git@[h/x"])
def test_an_address_that_cannot_be_read_is_refused(text):
    with pytest.raises(ValueError, match="a buildpack's address"):
        parse_buildpack(text)


@given(st.text())
def test_any_text_is_a_name_or_refused(text):
    try:
        found = parse_buildpack(text)
    except ValueError:
        return
    assert parse_buildpack(str(found)) == found


def test_a_branch_is_pinned_to_its_commit(tmp_path, monkeypatch):
    """By git itself, on a repository that it made; a path becomes an address by git's own setting."""
    repository = tmp_path / "x"
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(repository)]
    subprocess.run(["git", "init", "-q", "-b", "main", str(repository)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    subprocess.run([*git, "tag", "-a", "v1", "-m", "one"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    settings = {"COUNT": "2", "KEY_0": f"url.{tmp_path}/.insteadOf", "VALUE_0": "https://h/", "KEY_1": "protocol.allow",
                "VALUE_1": "always"}  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    monkeypatch.setattr("buildfarm.buildpacks.pin._PROTOCOLS", "http:https:ssh:git:file")
    for ref in ("main", "v1", "HEAD"):
        assert pin(f"https://h/x#{ref}", None) == GitBuildpack("https://h/x", commit)
    with pytest.raises(RequestError, match="no branch or tag 'absent'"):
        pin("https://h/x#absent", None)
    with pytest.raises(RequestError, match="cannot be read"):
        pin("https://h/y", None)


def test_a_checkout_around_has_no_say_when_a_branch_is_pinned(tmp_path, monkeypatch):
    """Its configuration would send the request elsewhere, and run a program for it."""
    marker = tmp_path / "marker"
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    for name, value in {
        "core.sshCommand": f"touch {marker}; false",
        "url.ssh://h/.insteadOf": "http://127.0.0.1:1/",
    }.items():
        subprocess.run(["git", "-C", str(tmp_path), "config", name, value], check=True)
    monkeypatch.chdir(tmp_path)
    for folder in ("", str(tmp_path / ".git")):
        monkeypatch.setenv("GIT_DIR", folder) if folder else monkeypatch.delenv("GIT_DIR", raising=False)
        with pytest.raises(RequestError, match=r"127\.0\.0\.1"):
            pin("http://127.0.0.1:1/x#main", None)
    assert not marker.exists()


@pytest.mark.parametrize("url", ["https://h/\0.git", "https://h/\ud800.git", "ssh://h/\x1b[2J.git"])
def test_an_address_of_no_characters_is_refused(url):
    with pytest.raises(ValueError, match="does not name a buildpack"):
        parse_buildpack(url)


@pytest.mark.parametrize("entry", ['"formation": {"\\ud800": "x"}', '"env": {"\\ud800\\n": []}'])
def test_a_name_that_is_no_text_can_be_shown(entry):
    found = read_manifests({"app.json": f"{{{entry}}}"}.get)
    assert [warning.encode().decode() for warning in found.warnings] == list(found.warnings)
    assert "\\ud800" in found.warnings[0]


def test_the_first_file_that_names_buildpacks_decides():
    files = {".buildpacks": "python\n", "app.json": '{"buildpacks": ["ruby"], "env": {"A": "1"}}'}
    found = read_manifests(files.get)
    assert found.buildpacks == (BundledBuildpack("python"),)
    assert found.env == {"A": "1"}


@pytest.mark.parametrize(
    ("name", "text", "kind", "told"),
    [
        (".buildpacks", "python\n\nftp://x\n", DetectError, ".buildpacks, line 3"),
        ("scalingo.json", "[]", CompileError, "scalingo.json is not a JSON object"),
        ("scalingo.json", '{"env": {"A-B": "x"}}', CompileError, "scalingo.json: 'A-B'"),
        ("scalingo.json", '{"env": {"A": ["x"]}}', CompileError, "scalingo.json: the value of A"),
        ("scalingo.json", '{"formation": {"web": {"quantity": -1}}}', CompileError, "formation.web"),
        ("scalingo.json", '{"buildpacks": {"a": 1}}', CompileError, "buildpacks must be a list"),
        ("app.json", '{"buildpacks": [{"url": "ftp://x"}]}', DetectError, "app.json, buildpack 1"),
        ("project.toml", "a = ", CompileError, "project.toml is not TOML"),
    ],
)
def test_a_wrong_manifest_names_its_file(name, text, kind, told):
    with pytest.raises(kind, match=told):
        read_manifests({name: text}.get)


@pytest.mark.parametrize("text", ["[" * 60_000, '{"env": ' + "[" * 500 + "]" * 500 + "}"])
def test_json_that_nests_too_deep_is_the_apps_fault(text):
    told = "cannot be used: its values are nested more than 100 levels deep"
    with pytest.raises(CompileError, match=f"scalingo.json {told}"):
        read_manifests({"scalingo.json": text}.get)
    assert read_manifests({"app.json": text}.get).warnings == (f"app.json {told}. It is ignored.",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = " + "[" * 60_000, "nested more than 100 levels"),
        ("x = 1\na" + ".a" * 200 + " = 1", "nested more than 100 levels"),
        ("x = 1\na" + ".a" * 30_000 + " = 1", "line 2 has more than 256 dots"),  # takes 4 GB to parse
        ("[a" + ".a" * 30_000 + "]", "line 1 has more than 256 dots"),
    ],
)
def test_toml_that_nests_too_deep_is_the_apps_fault(text, told):
    with pytest.raises(CompileError, match=f"project.toml cannot be used: .*{told}"):
        read_manifests({"project.toml": text}.get)


def test_a_number_of_more_digits_than_python_reads_is_the_apps_fault():
    with pytest.raises(CompileError, match=r"project\.toml is not TOML"):
        read_manifests({"project.toml": f"x = {'9' * 5000}"}.get)


def test_slugignore_matches_as_git_does_and_takes_nothing_back(tmp_path):
    for name in ("docs/deep/x", "a.psd", "keep.psd", "src/a.psd", "build", "tmp/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    found = ignored_names(scan(tmp_path).found, "# words\n/docs\n*.ps[a-f]\n!keep.psd\nbuild/\ntmp/\n")
    top = tmp_path.name
    assert found == {f"{top}/{name}" for name in ("docs", "docs/deep", "docs/deep/x", "a.psd", "keep.psd", "src/a.psd",
                                                  "tmp", "tmp/x")}  # fmt: skip
