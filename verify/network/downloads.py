"""The farm's cache of packages: what it saves, and builds whose cache dies, lies or is not there."""

from __future__ import annotations

import functools
import http.server
import io
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from buildfarm.farm import Farm
from buildfarm.model import Build, Phase, State
from testkit.apps.package_cache import PackageCache, package_cache
from testkit.builds import Builds, build_node, farm_alone, gateway_of, wait_for, write_files
from testkit.table import Claims

_PYTHON = {"requirements.txt": "numpy==2.2.6\ndjango==5.2.1\npillow==11.2.1\n", "Procfile": "web: true\n"}
_NODE = {
    "package.json": '{"name": "web", "version": "1.0.0", "dependencies": {"typescript": "5.8.3"}}\n',
    "Procfile": "web: true\n",
}
_APPS: Mapping[str, Mapping[str, str]] = {"pypi": _PYTHON, "npm": _NODE}
_HALF = {
    "bin/detect": "#!/bin/bash\necho App\n",
    "bin/compile": """#!/bin/bash
set -e
pip download --quiet --no-deps --no-cache-dir -d /tmp/wheels six==1.17.0
if [ -n "$BUILDFARM_APT_CACHE" ]; then
  echo "half done"
  for second in {1..60}; do curl -fsS -m 2 -o /dev/null "$BUILDFARM_APT_CACHE/_health" || break; sleep 0.5; done
fi
pip download --no-deps --no-cache-dir -d /tmp/wheels tomli==2.2.1
""",
    "Procfile": "web: true\n",
}
_LOOKS = {
    "bin/detect": "#!/bin/bash\necho App\n",
    "bin/compile": """#!/bin/bash
place=${BUILDFARM_APT_CACHE#http://}
tried() { echo "$1 $(curl -sS -m 3 -o /dev/null -w '%{http_code}' --path-as-is "${@:2}" 2>/dev/null)"; }
tried answers "http://$place/_pypi/simple/six/"
tried writes -X PUT -d x "http://$place/six"
tried deletes -X DELETE "http://$place/_pypi/simple/six/"
tried upwards "http://$place/_pypi/../../etc/passwd"
tried metrics "http://$place/metrics"
tried forwards -x "http://$place" http://169.254.169.254/latest/meta-data/
tried connects -p -x "http://$place" http://127.0.0.1:6390/
tried other "http://${place%:*}:OTHER/"
""",
    "Procfile": "web: true\n",
}


def tell(claims: Claims) -> None:
    """Two kinds of apps on nodes with and without a cache; then a cache that fails."""
    with farm_alone("downloads") as farm, tempfile.TemporaryDirectory() as folder:
        address = gateway_of(farm.settings.sandbox_network)
        with package_cache(address) as cache:
            for kind, app in _APPS.items():
                _saved(claims, farm, cache, kind, write_files(Path(folder) / kind, dict(app)))
            with _node(farm, cache) as built:
                _closed(claims, built, Path(folder) / "closed", address)
                _killed(claims, built, cache, Path(folder) / "half")
        with _lies(Path(folder) / "lies", address) as cache, _node(farm, cache) as built:
            _refused(claims, built, cache, Path(folder) / "lied")
        with _modules(Path(folder) / "modules", address) as cache, _node(farm, cache) as built:
            _go(claims, built, cache, Path(folder) / "go")


def _saved(claims: Claims, farm: Farm, cache: PackageCache, kind: str, app: Path) -> None:
    """An app on a node without the cache; on two nodes with it another app of the same packages, and the app again."""
    with _node(farm, None) as built:
        direct = built(app, app=kind, cached_result=False)
    with _node(farm, cache) as built:
        built(app, app=f"{kind}-first")
    before, came = cache.counted("upstream_bytes"), cache.counted("upstream_bytes", kind)
    with _node(farm, cache) as built:
        second = built(app, app=kind, cached_result=False)
    new = cache.counted("upstream_bytes") - before
    took = [_compile_seconds(build) for build in (direct, second)]
    sent = f"{came:,} bytes for the first app, {new:,} for the second"
    figure = f"{sent}; compile {took[0]:.1f} s without and {took[1]:.1f} s with it"
    claims.add(f"{kind}: a second app on another node downloads nothing", figure, new == 0 and came > 0)
    digests = {build.result.digest if build.result else None for build in (direct, second)}
    claims.add(
        f"{kind}: the image is the same with and without", str(*digests), len(digests) == 1 and None not in digests
    )


def _closed(claims: Claims, built: Builds, folder: Path, address: str) -> None:
    with _listening(folder / "other", address) as port:
        files = {**_LOOKS, "bin/compile": _LOOKS["bin/compile"].replace("OTHER", str(port))}
        build = built(write_files(folder / "app", files), app="closed")
    lines = [line.split() for line in built.log(build).splitlines()]
    seen = {words[0]: words[1] for words in lines if len(words) == 2 and words[1].isdigit()}
    wanted = {
        "answers": "200",
        "writes": "405",
        "deletes": "405",
        "upwards": "400",
        "metrics": "404",
        "forwards": "404",
        "connects": "000",
    }
    claims.add(
        "a build reaches its port alone, can only read, and is led nowhere else", str(seen),
        {name: seen.get(name) for name in wanted} == wanted and seen.get("other") == "000",
    )  # fmt: skip


def _killed(claims: Claims, built: Builds, cache: PackageCache, folder: Path) -> None:
    app = write_files(folder, _HALF)
    build_id = built.submit(source=built.farm.pack(app, built.tenant)[0], app="half")
    wait_for(lambda: any(line.text == "half done" for line in built.farm.logs(build_id)), 60)
    cache.kill()
    build = built.ended(build_id)
    claims.add("it is killed in mid-build: the build succeeds", _ended(build), build.state is State.SUCCEEDED)
    build = built(app, app="without")
    figure = _ended(build)
    claims.add(
        "it is not there: a build does without it", figure, build.state is State.SUCCEEDED and build.attempt == 1
    )


def _refused(claims: Claims, built: Builds, cache: PackageCache, folder: Path) -> None:
    build = built(write_files(folder, {"requirements.txt": "six==1.17.0\n", "Procfile": "web: true\n"}), app="lied")
    said = [line for line in built.log(build).splitlines() if cache.place in line]
    refused = "DO NOT MATCH THE HASHES" in built.log(build)
    claims.add(
        "one that gives other bytes is refused, and the log names it",
        f"{_ended(build)}: {said[-1][:100] if said else ''}",
        build.state is State.FAILED and refused and bool(said),
    )  # fmt: skip


def _go(claims: Claims, built: Builds, cache: PackageCache, folder: Path) -> None:
    files = {
        "go.mod": "module example.com/web\n\ngo 1.21\n\nrequire example.org/tiny v1.0.0\n",
        "main.go": 'package main\n\nimport "example.org/tiny"\n\nfunc main() { println(tiny.Name) }\n',
    }
    env = {"GOFLAGS": "-mod=mod", "GONOSUMDB": "example.org"}
    build = built(write_files(folder, files), app="go", env=env)
    came = cache.counted("upstream_bytes", "go")
    claims.add(
        "go: a module comes through it", f"{_ended(build)}, {came:,} bytes", build.state is State.SUCCEEDED and came > 0
    )


@contextmanager
def _modules(folder: Path, address: str) -> Iterator[PackageCache]:
    """A cache before a proxy of Go modules that has one (https://go.dev/ref/mod, "GOPROXY protocol")."""
    module = "module example.org/tiny\n"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("example.org/tiny@v1.0.0/go.mod", module)
        archive.writestr("example.org/tiny@v1.0.0/tiny.go", 'package tiny\n\nconst Name = "tiny"\n')
    place = "example.org/tiny/@v"
    told = {"list": "v1.0.0\n", "v1.0.0.mod": module, "v1.0.0.info": '{"Version": "v1.0.0"}\n'}
    write_files(folder, {f"{place}/{name}": text for name, text in told.items()})
    (folder / place / "v1.0.0.zip").write_bytes(packed.getvalue())
    with _listening(folder, "127.0.0.1") as port, package_cache(address, go=f"http://127.0.0.1:{port}") as cache:
        yield cache


@contextmanager
def _node(farm: Farm, cache: PackageCache | None) -> Iterator[Builds]:
    url = cache.url if cache else ""
    # No app's own cache: every build fetches all that it needs.
    with build_node(farm, BUILDFARM_SANDBOX_ALLOW="", BUILDFARM_DOWNLOADS_URL=url, BUILDFARM_CACHE_BYTES="1") as node:
        yield Builds(farm, node)


@contextmanager
def _lies(folder: Path, address: str) -> Iterator[PackageCache]:
    """A cache whose upstream lists a package as it is, and gives other bytes for it."""
    wheel = "six-1.17.0-py2.py3-none-any.whl"
    listed = "sha256=4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274"
    page = f'<a href="../../files/{wheel}#{listed}">{wheel}</a>\n'
    write_files(folder, {"simple/six/index.html": page, f"files/{wheel}": "other bytes\n"})
    with _listening(folder, "127.0.0.1") as port, package_cache(address, pypi=f"http://127.0.0.1:{port}") as cache:
        yield cache


@contextmanager
def _listening(folder: Path, address: str) -> Iterator[int]:
    """A folder over HTTP; the port."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer((address, 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def _compile_seconds(build: Build) -> float:
    return build.result.phase_seconds[Phase.COMPILE] if build.result else float("inf")


def _ended(build: Build) -> str:
    return f"{build.state} at attempt {build.attempt}"
