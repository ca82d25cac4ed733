"""Fetches one commit of a private git repository, with one credential or none. Runs in a fetching sandbox.

It reads a JSON object from standard input, and writes one to standard output: what it fetched, or why it could not.
The credential is in memory alone, and nothing of a repository runs: no hook, filter, helper or other protocol.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from workers.fetch.inside.refused import RefusedError

MEMORY = "/platform/env"  # a file system in memory, which the user of the build alone can enter
_SUBMODULES_MAX = 100
_KEPT = re.compile(r"PATH|SSL_CERT_FILE|GIT_SSL_CAINFO|CURL_CA_BUNDLE|(https?|no|all)_proxy", re.IGNORECASE)
_OFF = {
    "core.hooksPath": "/dev/null", "core.fsmonitor": "false", "core.attributesFile": "/dev/null", "gc.auto": "0",
    "transfer.fsckObjects": "true", "fetch.recurseSubmodules": "false", "submodule.recurse": "false",
    "protocol.file.allow": "never", "protocol.ext.allow": "never", "init.defaultBranch": "main",
    "advice.detachedHead": "false", "http.lowSpeedLimit": "1000", "http.lowSpeedTime": "60", "credential.helper": "",
}  # fmt: skip
_HOST_KEY = ("Host key verification failed", "IDENTIFICATION HAS CHANGED")
_REFUSED = (
    "Permission denied (", "Authentication failed", "could not read Username", "could not read Password",
    "terminal prompts disabled", "returned error: 401", "returned error: 403", "returned error: 404", "not found",
    "does not appear to be a git repository", "Access denied", "could not be found",
)  # fmt: skip
_NO_REF = "couldn't find remote ref"

# Git asks this program for the login of a host, after a redirect for that of the other one, and gets none there.
_HELPER = """
import json, sys
job = json.load(open(sys.argv[1]))
asked = dict(line.rstrip("\\n").split("=", 1) for line in sys.stdin if "=" in line)
host, _, port = asked.get("host", "").lower().partition(":")
host += "" if port.lstrip("0") in ("", "443") else ":" + port
place = host + "/" + asked.get("path", "").strip("/")
place, mine = (text[:-4] if text.endswith(".git") else text for text in (place.rstrip("/"), job["address"]))
if sys.argv[2] == "get" and asked.get("protocol") == "https" and (place == mine or place.startswith(mine + "/")):
    print("username=" + job["user"] + "\\npassword=" + job["value"])
"""


class Git:
    """git in a folder, with one credential or none."""

    def __init__(self, job: dict[str, Any], memory: Path) -> None:
        self.job, self.memory, self.into = job, memory, Path(job["into"])
        self.known = memory / "known_hosts"
        self.place, _, self.port = job["host"].partition(":")
        config = dict(_OFF)
        own = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
        schemes = {"ssh": "ssh", "token": "https", "": "https:http:git"}
        self.environment = {
            **own, "HOME": "/tmp", "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "/bin/false", "SSH_ASKPASS": "/bin/false",
            "GIT_ALLOW_PROTOCOL": schemes["ssh" if job["kind"] == "ssh-key" else job["kind"]],
            "GIT_ATTR_NOSYSTEM": "1", "GIT_LFS_SKIP_SMUDGE": "1", "GIT_SSH_COMMAND": self._ssh(),
        }  # fmt: skip
        pairs = list(config.items())
        if job["kind"] == "token":
            pairs += [("credential.useHttpPath", "true"), ("credential.helper", self._helper())]
        self.environment["GIT_CONFIG_COUNT"] = str(len(pairs))
        for number, (name, value) in enumerate(pairs):
            self.environment |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}

    def run(self, *arguments: str) -> tuple[bool, str, str]:
        """Whether it ended well, its output and what it said."""
        done = subprocess.run(
            ["git", *arguments], cwd=self.into, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
            check=False,
        )  # fmt: skip
        return done.returncode == 0, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")

    def read(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Its output as it is. Raises RefusedError, and shows what git said."""
        command = ["git", *arguments]
        done = subprocess.run(
            command, cwd=self.into, env=self.environment, input=stdin, capture_output=True, check=False
        )
        if done.returncode != 0:
            raise refused(done.stderr.decode(errors="replace"))
        return done.stdout

    def must(self, *arguments: str) -> str:
        """Its output. Raises RefusedError, and shows what git said."""
        good, output, said = self.run(*arguments)
        if not good:
            raise refused(said)
        return output

    def learned(self) -> list[str]:
        """The keys of the credential's host."""
        lines = [line.partition(" ") for line in self.known.read_text().splitlines()]
        return [key for name, _, key in lines if name == self._pattern]

    @property
    def _pattern(self) -> str:
        return f"[{self.place}]:{self.port}" if self.port else self.place

    def _ssh(self) -> str:
        if self.job["kind"] != "ssh-key":
            return "/bin/false"
        key = self.memory / "key"
        key.write_text(self.job["value"])
        key.chmod(0o600)
        self.known.write_text("".join(f"{self._pattern} {line}\n" for line in self.job["host_keys"]))
        options = {
            # The first of each counts: git can read another host or port out of an address than the node does.
            "HostName": self.place, "Port": self.port or "22",
            "BatchMode": "yes", "IdentitiesOnly": "yes", "IdentityFile": key, "IdentityAgent": "none",
            "StrictHostKeyChecking": "yes" if self.job["host_keys"] else "accept-new",
            "UserKnownHostsFile": self.known, "GlobalKnownHostsFile": "/dev/null", "HashKnownHosts": "no",
            "UpdateHostKeys": "no", "CheckHostIP": "no", "PreferredAuthentications": "publickey", "ForwardAgent": "no",
            "ClearAllForwardings": "yes", "PermitLocalCommand": "no", "ConnectTimeout": "20", "LogLevel": "ERROR",
            "ServerAliveInterval": "20", "ServerAliveCountMax": "3",
        }  # fmt: skip
        return " ".join(["ssh", "-F", "none", *(f"-o {name}={value}" for name, value in options.items())])

    def _helper(self) -> str:
        program, login = self.memory / "helper.py", self.memory / "login.json"
        program.write_text(_HELPER)
        login.write_text(json.dumps(self.job))
        return f"!python3 -I -S {program} {login}"


def fetch(git: Git) -> dict[str, Any]:
    """The files of one commit become the content of the folder; history is fetched only where it must be."""
    url, ref = git.job["url"], git.job["ref"]
    git.must("init", "--quiet", "--template=")
    commit = _by_id(git, url, ref) if re.fullmatch("[0-9a-f]{40}", ref) else _by_name(git, url, ref)
    git.must("checkout", "--quiet", f"{commit}^{{commit}}")
    answer: dict[str, Any] = {"commit": git.must("rev-parse", "HEAD").strip(), "submodules": _submodules(git)}
    answer["lfs_bytes"] = _fetch_lfs(git) if git.job["lfs"] else 0
    for folder in [Path(at) / ".git" for at, folders, files in os.walk(git.into) if ".git" in folders + files]:
        folder.unlink() if folder.is_symlink() or not folder.is_dir() else shutil.rmtree(folder)
    return answer


def resolve(git: Git) -> dict[str, Any]:
    """The commit that a name is now; empty if the server has no such name."""
    ref = git.job["ref"]
    if re.fullmatch("[0-9a-f]{40}", ref):
        return {"commit": ref}
    names = [f"{ref}^{{}}", ref]
    if ref != "HEAD" and not ref.startswith("refs/"):
        names = [f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}"]
    lines = git.must("ls-remote", "--", git.job["url"], *names).splitlines()
    found = {name: commit for commit, _, name in (line.partition("\t") for line in lines)}
    return {"commit": next((found[name] for name in names if name in found), "")}


def _fetch_lfs(git: Git) -> int:
    # The program has these modules only if they are asked for: they need more of Python than the rest.
    from workers.fetch.inside.lfs.files import fetch as fetch_files  # noqa: PLC0415

    return fetch_files(git)


def refused(said: str) -> RefusedError:
    """What git said, as a code; its words go to the log."""
    sys.stderr.write(said)
    if any(words in said for words in _HOST_KEY):
        return RefusedError("host-key")
    if "No space left" in said:
        return RefusedError("space")
    return RefusedError("refused" if any(words in said for words in _REFUSED) else "failed")


def _by_id(git: Git, url: str, ref: str) -> str:
    # Some servers know no shallow fetch, and some give no single commit that is not a branch's newest.
    if not git.run("fetch", "--quiet", "--depth", "1", "--no-tags", "--", url, ref)[0]:
        git.must("fetch", "--quiet", "--tags", "--", url, "+refs/heads/*:refs/remotes/origin/*")
    if not git.run("rev-parse", "--quiet", "--verify", f"{ref}^{{commit}}")[0]:
        raise RefusedError("no-ref")
    return ref


def _by_name(git: Git, url: str, ref: str) -> str:
    # Full names alone: git completes a short one in ways of its own, and takes a + at its front for an option.
    names = [ref] if ref == "HEAD" or ref.startswith("refs/") else [f"refs/heads/{ref}", f"refs/tags/{ref}"]
    for name in names:
        good, _, said = git.run("fetch", "--quiet", "--depth", "1", "--no-tags", "--", url, name)
        if good:
            return "FETCH_HEAD"
        if _NO_REF not in said:
            if any(words in said for words in (*_HOST_KEY, *_REFUSED)):
                raise refused(said)
            git.must("fetch", "--quiet", "--no-tags", "--", url, name)
            return "FETCH_HEAD"
    raise RefusedError("no-ref")


def _submodules(git: Git) -> list[dict[str, str]]:
    """What the commit has as submodules: their folders, commits and addresses."""
    if not (git.into / ".gitmodules").is_file() or (git.into / ".gitmodules").is_symlink():
        return []
    rows = git.must("ls-tree", "-r", "-z", "--full-tree", "HEAD").split("\0")
    commits = {path: about.split()[2] for about, _, path in (row.partition("\t") for row in rows) if "commit" in about}
    good, listed, _ = git.run(
        "config", "--file", ".gitmodules", "--null", "--get-regexp", r"^submodule\..*\.(path|url)$"
    )
    fields = dict(line.partition("\n")[::2] for line in listed.split("\0") if line) if good else {}
    found = {
        path: {"path": path, "commit": commits[path], "url": fields.get(f"{name.removesuffix('.path')}.url", "")}
        for name, path in fields.items()
        if name.endswith(".path") and path in commits
    }
    if not all((one["path"] + one["url"]).isprintable() for one in found.values()):
        sys.stderr.write("A submodule's path or address has control characters.\n")
        raise RefusedError("failed")
    if len(found) > _SUBMODULES_MAX:
        raise RefusedError("submodules")
    return list(found.values())


def _make_folder(into: Path) -> None:
    """A submodule's folder, which no link of the repository leads elsewhere."""
    if into.resolve() != into or not into.is_relative_to("/app"):
        raise RefusedError("path")
    into.mkdir(parents=True, exist_ok=True)


def main() -> None:
    """Does what standard input says."""
    job = json.load(sys.stdin)
    memory = Path(tempfile.mkdtemp(dir=MEMORY))
    try:
        _make_folder(Path(job["into"]))
        git = Git(job, memory)
        answer = resolve(git) if job["resolve"] else fetch(git)
        answer["host_keys"] = git.learned() if job["kind"] == "ssh-key" else []
    except RefusedError as error:
        answer = {"failure": str(error), "about": error.about}
    finally:
        shutil.rmtree(memory)
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
