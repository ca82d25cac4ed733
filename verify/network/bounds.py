"""What one build can take of the farm's cache of packages: of its connections, and of the disk."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import httpx

from testkit.apps.package_cache import PackageCache, package_cache
from testkit.builds import wait_for
from testkit.table import Claims

_ONE_MAX = 4
_HALF = b"x" * 100_000
_MB = 1_000_000
_TAG = '"one"'


def tell(claims: Claims) -> None:
    """A cache with low limits before an upstream whose files stop in their middle; then one with a small disk."""
    with _upstream() as upstream, package_cache("127.0.0.1", pypi_files=upstream.url, one_max=str(_ONE_MAX)) as cache:
        _connections(claims, cache, upstream)
    with (
        _upstream() as upstream,
        package_cache("127.0.0.1", disk_mb=96, pypi_files=upstream.url, min_free_mb="24") as cache,
    ):
        _disk(claims, cache, upstream)
    with _upstream() as upstream, package_cache("127.0.0.1", pypi=upstream.url) as cache:
        _lists(claims, cache, upstream)


def _connections(claims: Claims, cache: PackageCache, upstream: _Upstream) -> None:
    with ThreadPoolExecutor(_ONE_MAX) as pool:
        for number in range(_ONE_MAX):
            pool.submit(_ask, cache, f"held-{number}.whl", 2)
        wait_for(lambda: upstream.began == _ONE_MAX, 10)
        busy = _ask(cache, "one-more.whl")
    left = _ask(cache, "another.whl")  # all of its clients have gone
    upstream.release.set()
    wait_for(lambda: _ask(cache, "later.whl") == 200, 10)
    claims.add(
        "one build has so many requests, whose files count until they have come in; more are led to the upstream",
        f"{upstream.began - 1} of {_ONE_MAX}; then {busy}, after its clients have gone {left}, at last 200",
        (busy, left) == (302, 302),
    )


def _disk(claims: Claims, cache: PackageCache, upstream: _Upstream) -> None:
    upstream.release.set()
    kept = _ask(cache, "kept.whl")
    # It does not come to its end, or a file that fills the disk could be gone before the cache looks, once a second.
    upstream.rest_bytes = 80 * _MB
    upstream.ends.clear()
    _ask(cache, "large.whl")
    wait_for(lambda: not cache.runs(), 20, cache.logs)
    told = "MB of the disk are free" in cache.logs()
    cache.start()
    upstream.rest_bytes = 0
    upstream.ends.set()
    again = _ask(cache, "small.whl")
    claims.add(
        "what comes in and would fill the disk ends it; it begins anew, empty, and builds that used it are repeated",
        f"a file {kept}; 80 MB of another on a disk of 96 MB: its log names the reason: {told}; then {again}",
        (kept, told, again) == (200, True, 200),
    )  # fmt: skip


def _lists(claims: Claims, cache: PackageCache, upstream: _Upstream) -> None:
    upstream.release.set()
    wait_for(lambda: _ask(cache, "six/", at="_pypi/simple") != 200 or upstream.unchanged == 2, 20)
    claims.add(
        "a list of files that has expired and not changed does not come again",
        f"{upstream.unchanged} times 304, {upstream.began - upstream.unchanged} times 200",
        upstream.began - upstream.unchanged == 1,
    )  # fmt: skip


def _ask(cache: PackageCache, name: str, seconds: float = 30, at: str = "_files") -> int:
    """The status; 0 for an answer that was not whole."""
    with suppress(httpx.TransportError):
        return httpx.get(f"{cache.url}/{at}/{name}", timeout=seconds, trust_env=False).status_code
    return 0


@dataclass
class _Upstream:
    """Gives the first part of a file at once and the rest when it is released."""

    url: str = ""
    began: int = 0
    unchanged: int = 0  # times that the asker had it
    rest_bytes: int = 0
    release: threading.Event = field(default_factory=threading.Event)
    ends: threading.Event = field(default_factory=threading.Event)  # whether a file's last byte is sent


@contextmanager
def _upstream() -> Iterator[_Upstream]:
    upstream = _Upstream()
    upstream.ends.set()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            upstream.began += 1
            rest = upstream.rest_bytes
            is_known = self.headers.get("If-None-Match") == _TAG
            upstream.unchanged += is_known
            self.send_response(304 if is_known else 200)
            self.send_header("Cache-Control", "max-age=1")
            self.send_header("ETag", _TAG)
            if is_known:
                self.end_headers()
                return
            self.send_header("Content-Length", str(len(_HALF) + rest + 1))
            self.end_headers()
            self.wfile.write(_HALF)
            upstream.release.wait(60)
            with suppress(OSError):
                for _ in range(rest // len(_HALF)):
                    self.wfile.write(_HALF)
                upstream.ends.wait(60)
                self.wfile.write(b"x")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    upstream.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield upstream
    finally:
        upstream.release.set()
        upstream.ends.set()
        server.shutdown()
        server.server_close()
