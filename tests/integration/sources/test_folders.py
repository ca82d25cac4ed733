"""Read-only folders, as Go's module cache and Nix leave them, in sources, archives and caches of real builds."""

from __future__ import annotations

import functools
import hashlib
import http.server
import subprocess
import threading
from functools import partial

import pytest

from buildfarm.sources.address import ArchiveSource
from testkit.buildpacks import SHEBANG, run_image, succeeded
from testkit.builds import gateway_of, wait_for, write_files

LOOK = 'echo "CACHE: $(cd "$2" && find . -type f | sort | paste -sd,)"\n'
FILL = 'mkdir -p "$2/mod/x" && echo a >"$2/mod/x/a" && chmod 0555 "$2/mod/x" "$2/mod"\n'
CHANGE = 'cd "$1" && rm -rf node_modules && mkdir node_modules && touch node_modules/new\n'


def inline(folder, body, files=None):
    programs = {"bin/detect": "#!/bin/sh\necho Own\n", "bin/compile": f"{SHEBANG}set -e\n{body}"}
    return write_files(folder, {**programs, "Procfile": "web: true\n", **(files or {})})


def ended(built, build):
    """The build, once its cache is kept, which is after its end."""
    succeeded(built, build)
    wait_for(partial(_said, built.node.log, build.id), 30)
    return built.log(build)


def _said(log, build_id):
    return any('"build_ended"' in line and build_id in line for line in log.read_text().splitlines())


@pytest.mark.kind("folders and caches")
def test_a_cache_with_read_only_folders_is_restored_and_dropped(built, tmp_path, record_property):
    """F26a"""
    build = partial(built, app="cache", cached_result=False)
    folder = inline(tmp_path / "app", LOOK + 'test -e "$2/mod" || { ' + FILL.strip() + "; }\n")
    assert "CACHE: \n" in ended(built, build(folder)) + "\n"
    assert "CACHE: ./mod/x/a" in ended(built, build(folder))
    other = tmp_path / "looking"
    write_files(other, {"bin/detect": f"{SHEBANG}echo Looking\n", "bin/compile": SHEBANG + LOOK})
    log = ended(built, build(folder, buildpacks=[str(built.farm.pack_buildpack(other))]))
    assert "Cache dropped" in log
    assert "CACHE: \n" in log + "\n"
    record_property("seen", "restored for the same buildpack, empty for another")


@pytest.mark.kind("folders and caches")
def test_a_layer_with_read_only_folders_is_kept_from_build_to_build(built, tmp_path, record_property):
    made = 'mkdir -p "$1/mod/x" && echo a >"$1/mod/x/a" && chmod 0555 "$1/mod/x" "$1/mod"'
    body = (
        f'if [ -e "$1/mod/x/a" ]; then echo KEPT; else {made}; fi\nprintf "[types]\\ncache = true\\n" >"$1/mod.toml"\n'
    )
    buildpack = tmp_path / "cnb"
    toml = 'api = "0.10"\n[buildpack]\nid = "probe/mod"\nversion = "1.0.0"\n'
    write_files(buildpack, {"buildpack.toml": toml, "bin/detect": f"{SHEBANG}exit 0\n", "bin/build": SHEBANG + body})
    reference = str(built.farm.pack_buildpack(buildpack))
    folder = write_files(tmp_path / "app", {"Procfile": "web: true\n"})
    for number in range(3):
        log = ended(built, built(folder, "layer", buildpacks=[reference], cached_result=False))
        assert ("KEPT" in log.splitlines()) == (number > 0)
    record_property("seen", "kept in the second and the third build")


@pytest.fixture
def read_only_source(tmp_path):
    """F26c and d: old/ and web/node_modules/x are 0555."""
    folder = inline(tmp_path / "source" / "web", CHANGE, {"node_modules/x/index.js": ""})
    write_files(tmp_path / "source", {"old/deep/a": "", "other": ""})
    closed = [tmp_path / "source/old/deep", tmp_path / "source/old", folder / "node_modules/x", folder / "node_modules"]
    for path in closed:
        path.chmod(0o555)
    yield tmp_path / "source"
    for path in reversed(closed):
        path.chmod(0o755)


@pytest.mark.kind("folders and caches")
def test_a_directory_with_read_only_folders_is_built(built, read_only_source, record_property):
    build = built(read_only_source, "directory", env={"PROJECT_DIR": "web"})
    succeeded(built, build)
    assert run_image(built, build, "sh", "-c", "ls; ls node_modules").split() == [
        "Procfile",
        "bin",
        "node_modules",
        "new",
    ]
    record_property("seen", "old/ is gone, node_modules is new")


@pytest.fixture
def served(built, tmp_path):
    """A folder and its address in the sandboxes' network."""
    (tmp_path / "served").mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "served")
    address = gateway_of(built.farm.settings.sandbox_network)
    with http.server.ThreadingHTTPServer((address, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield tmp_path / "served", f"http://{address}:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.kind("folders and caches")
def test_an_archive_with_read_only_folders_is_built(built, read_only_source, served, record_property):
    """F26b: its top folder is 0555 too."""
    folder, url = served
    top = read_only_source / "web"
    top.chmod(0o555)
    subprocess.run(["tar", "-C", read_only_source, "-czf", folder / "app.tar.gz", "web"], check=True)
    top.chmod(0o755)
    sha256 = hashlib.sha256((folder / "app.tar.gz").read_bytes()).hexdigest()
    build = built.request(source=ArchiveSource(url=f"{url}/app.tar.gz", sha256=sha256), app="archive")
    succeeded(built, build)
    assert run_image(built, build, "sh", "-c", "ls; ls node_modules").split() == [
        "Procfile",
        "bin",
        "node_modules",
        "new",
    ]
    record_property("seen", "unpacked, and node_modules is new")
