"""Git repositories over HTTP: by git's own server, or as plain files, which is all that some servers offer."""

from __future__ import annotations

import base64
import http.server
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path

from testkit.git_server.lfs import PATH, LfsStore

_COMMITTER = {"GIT_COMMITTER_NAME": "test", "GIT_COMMITTER_EMAIL": "test@example.org"}


@dataclass(frozen=True)
class Repository:
    """A bare repository, and commits made in it without a work tree."""

    path: Path

    @classmethod
    def made(cls, path: Path) -> Repository:
        """A new one, whose HEAD is main."""
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True)
        return cls(path)

    def git(self, *arguments: str, stdin: str = "") -> str:
        """What a git command prints."""
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", **_COMMITTER}
        command = ["git", "--git-dir", str(self.path), *arguments]
        done = subprocess.run(command, env=environment, input=stdin.encode(), check=True, capture_output=True)
        return done.stdout.decode().strip()

    def commit(self, ref: str, files: Mapping[str, str]) -> str:
        """Point a full ref at a new commit of these files; its id."""
        self.commits({ref: files})
        return self.git("rev-parse", ref)

    def commits(self, refs: Mapping[str, Mapping[str, str]]) -> None:
        """Point each of these full refs at a new commit of its files; those in a folder bin/ are executable."""
        lines = []
        for ref, files in refs.items():
            lines += [f"commit {ref}", "committer test <test@example.org> 1700000000 +0000", "data 0", "deleteall"]
            for name, text in files.items():
                mode = "100755" if "bin/" in name else "100644"
                lines += [f"M {mode} inline {name}", f"data {len(text.encode())}", text]
        self.git("fast-import", "--quiet", "--force", stdin="\n".join([*lines, ""]))
        self.git("update-server-info")


@dataclass
class GitServer:
    """A folder of repositories at ``url``, and the paths that were asked for."""

    folder: Path
    url: str = ""
    asked: list[str] = field(default_factory=list)
    logins: set[str] = field(default_factory=set)  # as user:password; empty: open to all
    moved: dict[str, str] = field(default_factory=dict)  # where a path was moved to
    shown: list[str] = field(default_factory=list)  # the logins that came
    lfs: LfsStore = field(default_factory=LfsStore)

    def repository(self, name: str) -> Repository:
        """A new repository, served as ``url/name``."""
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        return Repository.made(self.folder / name)


@contextmanager
def git_server(
    folder: Path, address: str = "127.0.0.1", *, smart: bool = True, tls: ssl.SSLContext | None = None
) -> Iterator[GitServer]:
    """Serves a folder for the length of the block; with ``smart`` by git's own server, with ``tls`` over HTTPS."""
    served = GitServer(folder)
    handler = _handler(served, smart=smart)
    server = http.server.ThreadingHTTPServer((address, 0), handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    served.url = f"{'https' if tls else 'http'}://{address}:{server.server_address[1]}"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(served: GitServer, *, smart: bool) -> type[http.server.SimpleHTTPRequestHandler]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, directory=str(served.folder), **options)  # type: ignore[arg-type]

        def do_GET(self) -> None:
            served.asked.append(self.path)
            if PATH in self.path:
                return self._by_lfs()
            if not self._may():
                return self._answer(401, "WWW-Authenticate", 'Basic realm="git"')
            if to := next((to for path, to in served.moved.items() if self.path.startswith(path)), None):
                return self._answer(302, "Location", to + self.path)
            return self._by_git() if smart else super().do_GET()

        def do_PUT(self) -> None:
            self._by_lfs()

        def do_POST(self) -> None:
            if PATH in self.path:
                return self._by_lfs()
            if self._may():
                return self._by_git()
            return self._answer(401, "WWW-Authenticate", 'Basic realm="git"')

        def log_message(self, *_: object) -> None:
            pass

        def _by_git(self) -> None:
            self._send(*_of_git(served.folder, self.command, self.path, self.headers, self._body()))

        def _by_lfs(self) -> None:
            headers, body = dict(self.headers.items()), self._body()
            answer = served.lfs.answer(self.command, served.url, self.path, headers, body, may=self._may())
            self._send(*answer)

        def _answer(self, status: int, name: str, value: str) -> None:
            self._send(status, b"", {name: value})

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def _may(self) -> bool:
            coded = self.headers.get("Authorization", "").partition("Basic ")[2]
            if coded:
                served.shown.append(base64.b64decode(coded).decode())
            return not served.logins or bool(coded and served.shown[-1] in served.logins)

    return Handler


def _of_git(folder: Path, method: str, path: str, headers: Message, body: bytes) -> tuple[int, bytes, dict[str, str]]:
    """Status, content and headers that git's own server answers (git-http-backend, CGI)."""
    path, _, query = path.partition("?")
    environment = {
        **os.environ, "GIT_PROJECT_ROOT": str(folder), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path,
        "QUERY_STRING": query, "REQUEST_METHOD": method, "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": headers.get("Content-Encoding", ""), "GIT_PROTOCOL": headers.get("Git-Protocol", ""),
        # As public hosts have it: a client can ask for names of files alone.
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "uploadpack.allowFilter", "GIT_CONFIG_VALUE_0": "true",
    }  # fmt: skip
    answer = subprocess.run(["git", "http-backend"], env=environment, input=body, capture_output=True, check=False)
    head, _, content = answer.stdout.partition(b"\r\n\r\n")
    named = dict(line.split(": ", 1) for line in head.decode().splitlines())
    status = named.pop("Status", "200 OK")
    return int(status.split()[0]), content, named
