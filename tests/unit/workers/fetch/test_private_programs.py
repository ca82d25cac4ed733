"""The programs of a fetching sandbox: what git and a registry are given, and what a refusal says."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from buildfarm.errors import SourceError, TooLargeError
from buildfarm.sources.credentials import Credential, Kind
from workers.fetch.inside import git
from workers.fetch.program import command_of
from workers.fetch.refusals import refusal

TOKEN = "canary-4b1e77"
JOB = {
    "url": "https://h.org/a/b.git", "ref": "main", "into": "/app", "resolve": False, "kind": "token", "value": TOKEN,
    "user": "me", "host": "h.org", "host_keys": [], "address": "h.org/a",
}  # fmt: skip
CREDENTIAL = Credential(name="deploy", tenant="shop", app="web", kind=Kind.SSH_KEY, address="h.org/a", value=TOKEN)


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ({"protocol": "https", "host": "h.org", "path": "a/b.git"}, True),
        ({"protocol": "https", "host": "h.org", "path": "a.git"}, True),
        ({"protocol": "https", "host": "h.org", "path": "other/b.git"}, False),
        ({"protocol": "https", "host": "h.org:443", "path": "a/b.git"}, True),
        ({"protocol": "https", "host": "h.org:0443", "path": "a/b.git"}, True),
        ({"protocol": "https", "host": "h.org:8443", "path": "a/b.git"}, False),
        ({"protocol": "https", "host": "h.org:4430", "path": "a/b.git"}, False),
        ({"protocol": "https", "host": "elsewhere.org", "path": "a/b.git"}, False),
        ({"protocol": "http", "host": "h.org", "path": "a/b.git"}, False),
        ({"protocol": "https", "host": "h.org"}, False),
    ],
)
@pytest.mark.parametrize("deed", ["get", "store", "erase"])
def test_git_gets_the_login_for_the_credentials_address_alone(tmp_path, asked, given, deed):
    """After a redirect it asks for the other host's."""
    (tmp_path / "login.json").write_text(json.dumps(JOB))
    text = "".join(f"{name}={value}\n" for name, value in asked.items())
    command = [sys.executable, "-c", git._HELPER, str(tmp_path / "login.json"), deed]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    assert (done.stdout == f"username=me\npassword={TOKEN}\n") is (given and deed == "get")
    assert (TOKEN in done.stdout) is (given and deed == "get")


def test_git_sees_nothing_of_the_environment_but_proxies_and_certificates(tmp_path, monkeypatch):
    for name in ("GIT_SSL_NO_VERIFY", "GIT_TRACE_CURL", "GIT_PROXY_COMMAND", "LD_PRELOAD", "SSH_AUTH_SOCK"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("https_proxy", "http://proxy")
    made = git.Git(JOB, tmp_path).environment
    assert not {"GIT_SSL_NO_VERIFY", "GIT_TRACE_CURL", "GIT_PROXY_COMMAND", "LD_PRELOAD", "SSH_AUTH_SOCK"} & set(made)
    assert made["https_proxy"] == "http://proxy"
    assert made["GIT_ALLOW_PROTOCOL"] == "https"
    assert made["GIT_SSH_COMMAND"] == "/bin/false"
    assert TOKEN not in str(made)


@pytest.mark.parametrize(("known", "checking"), [([], "accept-new"), (["ssh-ed25519 AAAA"], "yes")])
def test_ssh_has_one_key_and_known_hosts_of_its_own(tmp_path, known, checking):
    job = {**JOB, "kind": "ssh-key", "host": "h.org:2222", "host_keys": known}
    made = git.Git(job, tmp_path).environment
    assert f"StrictHostKeyChecking={checking}" in made["GIT_SSH_COMMAND"]
    assert "IdentitiesOnly=yes" in made["GIT_SSH_COMMAND"]
    assert made["GIT_ALLOW_PROTOCOL"] == "ssh"
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "known_hosts").read_text() == "".join(f"[h.org]:2222 {key}\n" for key in known)


@pytest.mark.parametrize(("host", "name", "port"), [("h.org", "h.org", "22"), ("h.org:2222", "h.org", "2222")])
def test_ssh_connects_to_the_credentials_host_alone(tmp_path, host, name, port):
    """Whatever host and port git reads out of an address."""
    made = git.Git({**JOB, "kind": "ssh-key", "host": host}, tmp_path).environment
    command = [*made["GIT_SSH_COMMAND"].split(), "-G", "-p", "2022", "git@evil.example.org"]
    options = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {f"hostname {name}", f"port {port}", "user git"} <= set(options)


def test_only_keys_of_the_credentials_host_are_learned(tmp_path):
    made = git.Git({**JOB, "kind": "ssh-key"}, tmp_path)
    made.known.write_text("evil.org ssh-ed25519 AAAA\nh.org ssh-ed25519 BBBB\n[h.org]:2222 ssh-ed25519 CCCC\n")
    assert made.learned() == ["ssh-ed25519 BBBB"]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("git@h: Permission denied (publickey).", "refused"),
        ("remote: Invalid username or token.\nfatal: Authentication failed for 'https://h/'", "refused"),
        ("ERROR: Repository not found.", "refused"),
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", "refused"),
        ("The requested URL returned error: 403", "refused"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", "host-key"),
        ("fatal: write error: No space left on device", "space"),
        ("fatal: unable to access 'https://h/': Could not resolve host: h", "failed"),
    ],
)
def test_what_git_says_becomes_a_code(said, code, capsys):
    assert str(git.refused(said)) == code
    assert capsys.readouterr().err == said


LFS = ("large", "host", "refused", "ssh", "missing", "wrong", "extension", "time", "failed")
CODES = ["refused", "host-key", "space", "submodules", "failed", "path", "digest", "platform"]


@pytest.mark.parametrize("code", [*CODES, *(f"lfs-{end}" for end in LFS)])
def test_each_refusal_names_the_address_the_credential_and_what_to_do(code):
    error = refusal(code, "ssh://h.org/a/b", "main", CREDENTIAL, "big.bin")
    assert ("big.bin" in error.message) is code.startswith("lfs-")
    assert isinstance(error, SourceError | TooLargeError)
    assert "ssh://h.org/a/b" in error.message
    assert "deploy" in error.message
    assert error.advice
    assert TOKEN not in str(error)


def test_the_command_that_is_advised_keeps_what_was_asked_for():
    more = replace(CREDENTIAL, submodules=True, lfs=True)
    assert refusal("refused", "ssh://h.org/a", "main", more).advice.endswith(" --for h.org/a --submodules --lfs.")
    public = refusal("refused", "https://h.org/a", "main", replace(more, kind=Kind.PUBLIC, value=""))
    assert "asked for a login" in public.message
    assert "--kind token" in public.advice


def test_the_programs_need_only_the_standard_library():
    for name in ("git", "git-lfs", "oci"):
        command = command_of(name)
        assert command[:3] == ("python3", "-I", "-S")
        done = subprocess.run([sys.executable, *command[1:]], input="{}", capture_output=True, text=True, check=False)
        assert "KeyError" in done.stderr or "FileNotFoundError" in done.stderr, done.stderr
        assert len(command[-1].encode()) < 128 * 1024  # the longest argument that Linux passes on


def test_a_fetch_without_git_lfs_needs_nothing_of_it():
    """A builder may have less of Python than Git LFS needs."""
    check = "print(sorted({'ssl', 'http.client', 'concurrent'} & set(sys.modules)))"
    for name, needed in (("git", []), ("git-lfs", ["concurrent", "http.client", "ssl"])):
        text = command_of(name)[-1].replace("module.main()", check)
        done = subprocess.run([sys.executable, "-I", "-S", "-c", text], capture_output=True, text=True, check=True)
        assert done.stdout == f"{needed}\n"


def _modules(tmp_path, text):
    """What the program reads of a commit with one submodule, in the folder lib."""
    made = git.Git({**JOB, "into": str(tmp_path / "app")}, tmp_path)
    made.into.mkdir()
    made.must("init", "--quiet", "--template=")
    (made.into / ".gitmodules").write_text(text)
    made.must("update-index", "--add", "--cacheinfo", f"160000,{'a' * 40},lib")
    made.must("-c", "user.name=x", "-c", "user.email=x@x", "commit", "--quiet", "-m", "x")
    return git._submodules(made)


def test_a_folder_is_one_submodule(tmp_path):
    text = "".join(f'[submodule "{name}"]\n\tpath = lib\n\turl = ../{name}.git\n' for name in ("one", "two"))
    assert [(one["path"], one["commit"]) for one in _modules(tmp_path, text)] == [("lib", "a" * 40)]


def test_a_submodules_address_forges_no_line_of_the_log(tmp_path, capsys):
    with pytest.raises(git.RefusedError, match="failed"):
        _modules(tmp_path, '[submodule "x"]\n\tpath = lib\n\turl = "https://h/x\\n-----> forged"\n')
    assert "control characters" in capsys.readouterr().err
