"""The program that fetches Git LFS files, against a git server over TLS: what comes, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import urllib.request
from contextlib import ExitStack
from functools import partial
from io import BytesIO
from types import SimpleNamespace

import pytest

from testkit.git_server import git_server
from testkit.git_server.lfs import OVER_SSH, LfsStore
from testkit.git_server.private import tls_for
from workers.fetch.inside import git
from workers.fetch.inside.lfs import authenticate, files, server
from workers.fetch.inside.lfs.pointer import Pointer

ADDRESS = "127.0.0.1"
TOKEN = "canary-token-c0de77"
ATTRIBUTES = "*.bin filter=lfs diff=lfs merge=lfs -text\n"
BIG = bytes(range(256)) * 2000


def pointer(content, *, size=None, oid=""):
    oid = oid or hashlib.sha256(content).hexdigest()
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content) if size is None else size}\n"
    )


class Servers:
    """The repository's own server, another host, and a folder that is fetched into."""

    def __init__(self, mine, other, folder):
        self.mine, self.other, self.folder = mine, other, folder
        self.repository = mine.repository("team/app.git")

    def has(self, *contents):
        for content in contents:
            self.mine.lfs.objects[hashlib.sha256(content).hexdigest()] = content

    def fetched(self, entries, **fields):
        """The folder of an app with these files, after the fetch."""
        self.repository.commit("refs/heads/main", {".gitattributes": ATTRIBUTES, **entries})
        place, memory = self.folder / "app", self.folder / "memory"
        for folder in (place, memory):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        host = self.mine.url.removeprefix("https://")
        job = {
            "url": f"{self.mine.url}/team/app.git", "ref": "main", "into": str(place), "resolve": False, "lfs": True,
            "kind": "token", "value": TOKEN, "user": "me", "host": host, "host_keys": [], "address": f"{host}/team",
            "lfs_bytes": 1_000_000,
        } | fields  # fmt: skip
        git.fetch(git.Git(job, memory))
        return place

    def refused(self, entries, **fields):
        """The code and the name of a refusal."""
        with pytest.raises(git.RefusedError) as error:
            self.fetched(entries, **fields)
        return str(error.value), error.value.about


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Both servers, whose certificate is trusted."""
    folder = tmp_path_factory.mktemp("servers")
    tls, authority = tls_for(ADDRESS, folder)
    (folder / "authority.pem").write_text(authority)
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name in ("SSL_CERT_FILE", "GIT_SSL_CAINFO"):
            patch.setenv(name, str(folder / "authority.pem"))
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            patch.delenv(name, raising=False)
        for name in ("mine", "other"):
            (folder / name).mkdir()
        yield [stack.enter_context(git_server(folder / name, ADDRESS, tls=tls)) for name in ("mine", "other")]


@pytest.fixture
def servers(running, tmp_path):
    for one in running:
        shutil.rmtree(one.folder)
        one.folder.mkdir()
        one.lfs = LfsStore()
        one.shown.clear()
        one.logins.clear()
    mine, other = running
    mine.logins.add(f"me:{TOKEN}")
    return Servers(mine, other, tmp_path)


def test_pointers_become_their_content_wherever_they_are(servers):
    servers.has(BIG, b"twice")
    place = servers.fetched(
        {
            "a.bin": pointer(BIG), "deep/in/b.bin": pointer(b"twice"), "bin/c.bin": pointer(b"twice"),
            "empty.bin": pointer(b""), "text.bin": "committed without Git LFS\n", "d.txt": pointer(b"no attribute"),
        }
    )  # fmt: skip
    assert (place / "a.bin").read_bytes() == BIG
    assert (place / "deep/in/b.bin").read_bytes() == (place / "bin/c.bin").read_bytes() == b"twice"
    assert (place / "deep/in/b.bin").stat().st_mode & 0o777 == 0o644
    assert (place / "bin/c.bin").stat().st_mode & 0o777 == 0o755
    assert (place / "deep/in/b.bin").stat().st_nlink == 1
    assert (place / "empty.bin").read_bytes() == b""
    assert (place / "text.bin").read_text() == "committed without Git LFS\n"
    assert (place / "d.txt").read_text() == pointer(b"no attribute")
    assert not (place / ".git").exists()


def test_nothing_is_asked_for_if_it_is_not_wanted(servers):
    place = servers.fetched({"a.bin": pointer(BIG)}, lfs=False)
    assert (place / "a.bin").read_text() == pointer(BIG)
    servers.fetched({"a.txt": "x"})
    assert servers.mine.lfs.seen == []


def test_objects_are_asked_for_by_the_hundred(servers):
    contents = [f"content {number}".encode() for number in range(250)]
    servers.has(*contents)
    place = servers.fetched({f"{number}.bin": pointer(content) for number, content in enumerate(contents)})
    assert [(place / f"{number}.bin").read_bytes() for number in range(250)] == contents
    assert servers.mine.lfs.batches == [100, 100, 50]


@pytest.mark.parametrize("sent", [b"", b"other", b"twic", b"twice and more", b"TWICE"])
def test_other_bytes_than_the_pointers_are_refused_by_the_file(servers, sent):
    servers.has(b"twice")
    servers.mine.lfs.sent = {hashlib.sha256(b"twice").hexdigest(): sent}
    assert servers.refused({"a/b.bin": pointer(b"twice")}) == ("lfs-wrong", "a/b.bin")


@pytest.mark.parametrize("cut", [2, 3])
def test_a_connection_that_ends_early_is_tried_again(servers, monkeypatch, cut):
    servers.has(BIG)
    servers.mine.lfs.cut = cut
    monkeypatch.setattr(server, "_PAUSE_SECONDS", 0)
    if cut < server._TRIES:
        assert (servers.fetched({"a.bin": pointer(BIG)}) / "a.bin").read_bytes() == BIG
    else:
        assert servers.refused({"a.bin": pointer(BIG)})[0] == "lfs-failed"


def test_what_takes_long_shows_that_bytes_come(tmp_path, monkeypatch, capsys):
    """A second passes before each byte."""
    content, clock = b"x" * 100, iter(range(10_000))
    monkeypatch.setattr(server.time, "monotonic", lambda: next(clock) / 2)
    pieces = iter([*(content[at : at + 1] for at in range(100)), b""])
    answer = SimpleNamespace(read1=lambda _: next(pieces), length=100)
    wanted = Pointer(hashlib.sha256(content).hexdigest(), 100)
    server.Server({}, "https://h.org/x", {}, 1e9)._write(answer, wanted, "a.bin", tmp_path / "made")
    lines = capsys.readouterr().err.splitlines()
    assert 4 <= len(lines) <= 5
    assert all(line.endswith("bytes of Git LFS files came") for line in lines)


def test_a_pointer_with_another_size_is_refused_by_the_file(servers):
    servers.has(b"twice")
    assert servers.refused({"b.bin": pointer(b"twice", size=4), "c.txt": ""}) == ("lfs-wrong", "b.bin")


def test_what_is_too_large_is_refused_before_anything_is_asked_for(servers, monkeypatch):
    code, about = servers.refused({"a.bin": pointer(b"", oid="1" * 64, size=10**12), "b.bin": pointer(b"twice")})
    assert (code, about) == (
        "lfs-large",
        "1,000,000,000,005 bytes, of which a.bin has 1,000,000,000,000; there is room for 1,000,000",
    )
    several = {f"{name}.bin": pointer(BIG) for name in "ab"}
    assert servers.refused(several)[0] == "lfs-large"  # the same object, but two files
    monkeypatch.setattr(files, "OBJECTS_MAX", 1)
    assert servers.refused({"a.bin": pointer(b"a"), "b.bin": pointer(b"b")}) == ("lfs-large", "2 files; the limit is 1")
    assert servers.mine.lfs.seen == []


def test_what_the_server_lacks_is_refused_by_the_file(servers):
    assert servers.refused({"a.bin": pointer(b"gone")}) == ("lfs-missing", "a.bin")


def test_an_extension_is_refused_by_the_file(servers):
    text = pointer(b"x").replace("oid", f"ext-0-crypt sha256:{'1' * 64}\noid")
    assert servers.refused({"a.bin": text}) == ("lfs-extension", "a.bin")


def test_a_login_that_counts_no_more_is_refused_by_the_server(servers, monkeypatch):
    servers.mine.logins.clear()
    monkeypatch.setattr(servers.mine.lfs, "answer", lambda *_, **__: (403, b"", {}))
    host = servers.mine.url.removeprefix("https://")
    assert servers.refused({"a.bin": pointer(BIG)}) == ("lfs-refused", host)


@pytest.mark.parametrize("config", ["[lfs]\n\turl = {other}/team/lfs\n", '[remote "origin"]\n\tlfsurl = {other}/x\n'])
def test_a_repository_does_not_send_the_login_to_another_host(servers, config):
    config = config.format(other=servers.other.url)
    assert servers.refused({"a.bin": pointer(BIG), ".lfsconfig": config})[0] == "lfs-host"
    assert servers.other.lfs.seen == []


def test_a_repository_can_name_another_place_of_its_own_host(servers):
    servers.has(BIG)
    config = f"[lfs]\n\turl = {servers.mine.url}/team/media.git/info/lfs\n\tcustomtransfer.x.path = /bin/false\n"
    place = servers.fetched({"a.bin": pointer(BIG), ".lfsconfig": config})
    assert (place / "a.bin").read_bytes() == BIG


def test_another_host_gets_the_headers_of_the_answer_and_no_login(servers):
    servers.has(BIG)
    servers.other.lfs.objects = servers.mine.lfs.objects
    servers.mine.lfs.at = f"{servers.other.url}/store"
    place = servers.fetched({"a.bin": pointer(BIG)})
    assert (place / "a.bin").read_bytes() == BIG
    (seen,) = servers.other.lfs.seen
    assert seen["Authorization"] == "Bearer of-the-lfs-session"
    assert servers.other.shown == []


def test_the_host_behind_a_redirect_gets_nothing(servers):
    servers.has(BIG)
    servers.other.lfs.objects, servers.other.lfs.is_open = servers.mine.lfs.objects, True
    servers.mine.lfs.moved = servers.other.url
    assert (servers.fetched({"a.bin": pointer(BIG)}) / "a.bin").read_bytes() == BIG
    (seen,) = servers.other.lfs.seen
    assert "Authorization" not in seen


def test_a_proxys_login_stays_with_the_proxy():
    """urllib keeps it among the headers that a redirect copies, and the proxy in the place of the host."""
    request = urllib.request.Request("https://h.org/x", headers={"Accept": "a", "Content-Type": "b", "X": "c"})
    request.add_header("Proxy-authorization", "Basic canary")
    request.set_proxy("proxy:3128", "https")
    follow = partial(server._Redirects().redirect_request, request, BytesIO(b""), 302, "", {})
    assert follow("https://other.org/x").headers == {"Accept": "a", "Content-type": "b"}
    with pytest.raises(git.RefusedError, match="lfs-failed") as error:
        follow("http://other.org/x")
    assert error.value.about == "h.org"


def test_the_content_of_a_redirect_is_not_read():
    endless, request = BytesIO(b"x" * 10), urllib.request.Request("https://h.org/x")
    server._Redirects().redirect_request(request, endless, 302, "", {}, "https://other.org/x")
    assert endless.closed


def test_no_redirect_and_no_address_leads_out_of_tls(servers):
    servers.has(BIG)
    servers.mine.lfs.moved = servers.other.url.replace("https", "http")
    assert servers.refused({"a.bin": pointer(BIG)})[0] == "lfs-failed"
    servers.mine.lfs.moved, servers.mine.lfs.at = "", servers.other.url.replace("https", "http")
    assert servers.refused({"a.bin": pointer(BIG)})[0] == "lfs-failed"
    assert servers.other.lfs.seen == []


def test_a_server_that_is_too_slow_is_given_up(servers, monkeypatch):
    servers.has(BIG)
    monkeypatch.setattr(files, "_SECONDS_MAX", -1)
    assert servers.refused({"a.bin": pointer(BIG)})[0] == "lfs-time"


def test_a_batch_answer_is_read_in_time_and_up_to_a_limit(servers, monkeypatch):
    servers.has(BIG)
    monkeypatch.setattr(server, "_ANSWER_BYTES_MAX", 100)
    assert servers.refused({"a.bin": pointer(BIG)})[0] == "lfs-failed"
    late = server.Server({}, "https://h.org/x", {}, -1)
    with pytest.raises(git.RefusedError, match="lfs-time"):
        late._read(BytesIO(b"x"), 100)


def test_the_servers_words_about_a_refusal_are_in_the_log(servers, monkeypatch, capsys):
    answer = 403, b'{"message": "over its data quota\\n-----> forged"}', {}
    monkeypatch.setattr(servers.mine.lfs, "answer", lambda *_, **__: answer)
    assert servers.refused({"a.bin": pointer(BIG)})[0] == "lfs-refused"
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "403" in line]
    assert line.endswith("answered 403: over its data quota -----> forged")


@pytest.mark.parametrize(("code", "tries"), [(429, 3), (408, 3), (503, 3), (403, 1), (404, 1)])
def test_a_busy_storage_is_asked_again_after_a_pause(servers, monkeypatch, code, tries):
    pauses, store = [], servers.mine.lfs
    asked, host = [], servers.mine.url.removeprefix("https://")
    monkeypatch.setattr(server.time, "sleep", pauses.append)
    monkeypatch.setattr(store, "_transfer", lambda *_: asked.append(1) or (code, b"", {}))
    servers.has(BIG)
    refused = {403: ("lfs-refused", host), 404: ("lfs-missing", "a.bin")}.get(code, ("lfs-failed", host))
    assert servers.refused({"a.bin": pointer(BIG)}) == refused
    assert len(asked) == tries
    assert pauses == [2, 4][: tries - 1]


def test_pointers_are_read_in_parts(servers, monkeypatch):
    monkeypatch.setattr(files, "_AT_A_TIME", 2)
    servers.has(*(name.encode() for name in "abcde"))
    place = servers.fetched({f"{name}.bin": pointer(name.encode()) for name in "abcde"})
    assert [(place / f"{name}.bin").read_text() for name in "abcde"] == list("abcde")


def test_a_public_repository_needs_no_login(servers):
    servers.mine.logins.clear()
    servers.has(BIG)
    place = servers.fetched({"a.bin": pointer(BIG)}, kind="", value="", user="", address="")
    assert (place / "a.bin").read_bytes() == BIG
    assert servers.mine.shown == []


@pytest.mark.parametrize(("place", "name"), [(server.Server, "_write"), (files.shutil, "copyfile")])
def test_a_full_disk_is_named_so(servers, monkeypatch, place, name):
    def full(*_):
        raise OSError(28, "No space left on device")

    servers.has(b"twice")
    monkeypatch.setattr(place, name, full)
    assert servers.refused({"a.bin": pointer(b"twice"), "b.bin": pointer(b"twice")})[0] == "space"


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (
            {"href": "https://h.org/x/", "header": {"Authorization": OVER_SSH}},
            ("https://h.org/x", {"Authorization": OVER_SSH}),
        ),
        ({}, ("https://h.org/a/b.git/info/lfs", {})),
        ({"href": "http://h.org/x"}, None),
        ({"href": "https://h.org/x?y"}, None),
        ({"href": "https://h.org/x#y"}, None),
        ({"href": "https://me:x@h.org/x"}, None),
        ([], None),
        ({"href": "https://h.org/x", "header": []}, ("https://h.org/x", {})),
        ({"href": "https://h.org/x", "header": ["x"]}, None),
    ],
)
def test_over_ssh_the_host_names_the_server(tmp_path, answer, found):
    """A program in the place of ssh notes what it is asked, and answers."""
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\nprintf '%s|' \"$@\" >{tmp_path}/asked\necho '{json.dumps(answer)}'\n")
    ssh.chmod(0o755)
    environment = {"GIT_SSH_COMMAND": f"{ssh} -o X=y", "PATH": "/bin:/usr/bin"}
    job, address = {"host": "h.org:2222"}, "ssh://git@h.org:2222/a/b.git"
    if found is None:
        with pytest.raises(git.RefusedError, match="lfs-ssh") as error:
            authenticate.over_ssh(job, address, environment)
        assert error.value.about == "h.org"
    else:
        assert authenticate.over_ssh(job, address, environment) == found
    assert (tmp_path / "asked").read_text() == "-o|X=y|--|git@h.org|git-lfs-authenticate /a/b.git download|"


def test_a_host_that_says_too_much_over_ssh_is_refused(tmp_path):
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\nexec head -c 9000000 /dev/zero\n")
    ssh.chmod(0o755)
    with pytest.raises(git.RefusedError, match="lfs-ssh"):
        authenticate.over_ssh(
            {"host": "h.org"}, "ssh://h.org/a", {"GIT_SSH_COMMAND": str(ssh), "PATH": "/bin:/usr/bin"}
        )


def test_a_repositorys_path_is_one_word_of_the_command(tmp_path):
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\nsh -c \"printf '%s|' ${{4#git-lfs-authenticate}}\" >{tmp_path}/asked\necho '{{}}'\n")
    ssh.chmod(0o755)
    address = "ssh://git@h.org/a/$(touch${IFS}x);b.git"
    authenticate.over_ssh({"host": "h.org"}, address, {"GIT_SSH_COMMAND": f"{ssh} x", "PATH": "/bin:/usr/bin"})
    assert (tmp_path / "asked").read_text() == "/a/$(touch${IFS}x);b.git|download|"
