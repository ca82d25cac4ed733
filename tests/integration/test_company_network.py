"""Builds whose only way out is a proxy with a password, and a mirror whose certificate is of an own authority."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import json
import ssl
import subprocess
import tarfile
import threading
import zipfile
from contextlib import contextmanager

import pytest

from buildfarm.config_vars.build_variables import BuildVariable
from buildfarm.model import State
from buildfarm.sources.address import GitSource
from testkit.apps.company import company_farm, variables
from testkit.builds import EXAMPLES, Builds, build_node, write_files
from testkit.git_server import Repository
from testkit.queue.stored import all_stored

CANARY = "canary-7d20b9e4"
NO_PROXIES = {"HTTP_PROXY": "", "HTTPS_PROXY": ""}
ASKS = "#!/bin/bash\ncurl -fsS --connect-timeout 10 -m 60 -o /dev/null https://pypi.org/simple/tiny/\n"
# The other folders are programs that use the farm.
APPS = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir() and not (path / "__main__.py").exists())
NEED_THE_NETWORK = {"apt", "node", "python"}
SHOWS = {
    "bin/detect": "#!/bin/bash\necho App\n",
    "bin/compile": '#!/bin/bash\necho "http_proxy is $http_proxy, $NO_PROXY"; env >&2\n',
    "Procfile": "web: true\n",
}
FETCHES = {
    "bin/detect": "#!/bin/bash\necho App\n",
    "bin/compile": """#!/bin/bash
set -eux
pip download --no-deps --no-cache-dir -d /tmp/wheels tiny
cd /tmp && npm pack tiny
git clone -q "$GIT_MIRROR" cloned
curl -sS "$PIP_INDEX_URL" >/dev/null
[ "$(cat "$PIP_CONFIG_FILE")" = "# of the farm" ]
ls wheels tiny-1.0.0.tgz cloned/file
""",
    "Procfile": "web: true\n",
}


@pytest.fixture(scope="module")
def proxied(services):
    """A farm with a node whose builds can reach a proxy alone, and the proxy."""
    with company_farm(services, "builds", CANARY) as (farm, proxy), build_node(farm) as node:
        yield Builds(farm, node), proxy


@pytest.mark.parametrize("example", APPS)
def test_every_example_is_built_behind_a_proxy(proxied, example, record_property):
    builds, proxy = proxied
    proxy.hosts.clear()
    build = builds(EXAMPLES / example, app=example)
    assert build.state is State.SUCCEEDED, builds.log(build)
    assert bool(proxy.hosts) == (example in NEED_THE_NETWORK)
    record_property("hosts", sorted(set(proxy.hosts)))


@pytest.mark.parametrize(("proxies", "state"), [({}, State.SUCCEEDED), (NO_PROXIES, State.FAILED)])
def test_no_build_gets_out_without_the_proxy(proxied, tmp_path, proxies, state):
    """An app's own empty variables win over the farm's, and then the network leads nowhere."""
    builds, proxy = proxied
    app = f"direct-{len(proxies)}"
    if proxies:
        builds.farm.set_variables(variables(**proxies), tenant=builds.tenant, app=app)
    proxy.hosts.clear()
    build = builds(write_files(tmp_path, {**SHOWS, "bin/compile": ASKS}), app=app)
    assert (build.state, proxy.hosts) == (state, [] if proxies else ["pypi.org"]), builds.log(build)


def test_a_cloud_native_buildpack_has_the_variables_and_the_builds_own_win(proxied, tmp_path):
    builds, proxy = proxied
    builds.farm.set_variables(variables(FIRST="farm-1", SECOND="farm-2"), tenant=builds.tenant, app="cnb")
    build_program = f"{ASKS}[ $FIRST-$SECOND = farm-1-own-2 ]\n"
    files = {
        "buildpack.toml": 'api = "0.10"\n[buildpack]\nid = "probe/asks"\nversion = "1"\n',
        "bin/detect": "#!/bin/bash\n",
        "bin/build": build_program.replace("\n", "\nset -e\n", 1),
    }
    pack = str(builds.farm.pack_buildpack(write_files(tmp_path / "pack", files)))
    proxy.hosts.clear()
    app = write_files(tmp_path / "app", {"Procfile": "web: true\n"})
    build = builds(app, app="cnb", buildpacks=(pack,), env={"SECOND": "own-2"})
    assert build.state is State.SUCCEEDED, builds.log(build)
    assert proxy.hosts == ["pypi.org"]


def texts_of(builds, build):
    """Everything that a build leaves behind where someone could read it."""
    registry, farm = builds.farm.registry, builds.farm
    manifest, _ = registry.read_manifest(build.result.repository, build.result.digest)
    digests = [manifest.config.digest, *(layer.digest for layer in build.result.layers if layer.origin != "builder")]
    content = [b"".join(registry.get_blob(build.result.repository, digest, limit_bytes=2**30)) for digest in digests]
    yield "config", content[0]
    for layer in content[1:]:
        yield "layer", gzip.decompress(layer) if layer[:2] == b"\x1f\x8b" else layer
    yield "manifest", registry.get_manifest(build.result.repository, build.result.digest)[1]
    yield "log", builds.log(build).encode()
    yield "record", farm.get(build.id).model_dump_json().encode()
    yield "node's log", builds.node.log.read_bytes()
    for key, content in all_stored(farm).items():
        yield f"Redis {key}", content.encode()


def test_a_value_is_in_no_image_log_or_record(proxied, tmp_path, record_property):
    builds, _ = proxied
    farm = builds.farm
    farm.set_variables(
        {"APP_TOKEN": BuildVariable(value=f"app-{CANARY}", secret=True)}, tenant=builds.tenant, app="shows"
    )
    build = builds(write_files(tmp_path, SHOWS), app="shows", env={"NO_PROXY": "own-value"})
    assert build.state is State.SUCCEEDED, builds.log(build)
    log = builds.log(build)
    assert "http_proxy is [hidden], own-value" in log
    assert "APP_TOKEN=[hidden]" in log
    looked = list(texts_of(builds, build))
    assert {"layer", "log"} <= {
        place for place, content in looked if b"web: true" in content or b"own-value" in content
    }
    assert [place for place, content in looked if CANARY.encode() in content] == []
    record_property("looked", len(looked))


def test_a_marked_value_in_a_file_of_the_image_fails_the_build(proxied, tmp_path):
    builds, _ = proxied
    value = f"marked-{CANARY}"
    builds.farm.set_variables({"MARKED": BuildVariable(value=value, secret=True)}, tenant=builds.tenant, app="keeps")
    files = {**SHOWS, "bin/compile": '#!/bin/bash\necho "$MARKED" >"$1/kept"\n'}
    build = builds(write_files(tmp_path, files), app="keeps")
    assert build.state is State.FAILED
    assert "MARKED" in build.failure.message
    assert "kept" in build.failure.message
    assert CANARY not in build.failure.model_dump_json()


@contextmanager
def tls_files(folder, name):
    """A folder over HTTPS, with a certificate for this name of an authority of its own; its port and the authority."""
    key, request = folder / "key.pem", ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    made = ["-keyout", str(key), "-out", str(folder / "ca.pem")]
    subprocess.run([*request, *subject, *made], check=True, capture_output=True)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder / "served"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1], (folder / "ca.pem").read_text()
    finally:
        server.shutdown()
        server.server_close()


def fill_mirror(folder, url):
    """A package index, a registry of npm and a git repository, all as plain files."""
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        about = "tiny-1.0.dist-info"
        archive.writestr("tiny.py", "")
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    name = "tiny-1.0-py3-none-any.whl"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        text = json.dumps({"name": "tiny", "version": "1.0.0"}).encode()
        info = tarfile.TarInfo("package/package.json")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
    dist = {"tarball": f"{url}/tiny-1.0.0.tgz", "shasum": hashlib.sha1(packed.getvalue()).hexdigest()}
    version = {"name": "tiny", "version": "1.0.0", "dist": dist}
    described = {"name": "tiny", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
    (folder / "simple/tiny").mkdir(parents=True)
    (folder / "simple/tiny" / name).write_bytes(wheel.getvalue())
    (folder / "tiny-1.0.0.tgz").write_bytes(packed.getvalue())
    write_files(folder, {"simple/tiny/index.html": f'<a href="{name}">{name}</a>', "tiny": json.dumps(described)})
    repository = Repository.made(folder / "app.git")
    repository.commit("refs/heads/main", {**FETCHES, "file": ""})


@pytest.fixture(scope="module")
def mirrored(proxied, tmp_path_factory):
    """The builds, a mirror that only the proxy can resolve, and its authority."""
    builds, proxy = proxied
    folder, name = tmp_path_factory.mktemp("mirror"), "mirror.example.org"
    (folder / "served").mkdir()
    with tls_files(folder, name) as (port, authority):
        fill_mirror(folder / "served", f"https://{name}")
        proxy.names[name] = ("127.0.0.1", port)
        yield builds, f"https://{name}", authority


def mirrors(url):
    return {
        **variables(PIP_INDEX_URL=f"{url}/simple", npm_config_registry=f"{url}/", GIT_MIRROR=f"{url}/app.git"),
        "PIP_CONFIG_FILE": BuildVariable(value="# of the farm\n", file=True),
    }


def test_a_mirror_of_an_own_authority_is_trusted_by_pip_npm_git_and_the_farms_own_fetches(mirrored):
    built, url, authority = mirrored
    built.farm.set_variables({**mirrors(url), **variables(CA_CERTIFICATES=authority)})
    build = built.request(source=GitSource(url=f"{url}/app.git", ref="main"), app="mirrored")
    assert build.state is State.SUCCEEDED, built.log(build)
    assert "tiny-1.0.0.tgz" in built.log(build)


def test_without_the_certificate_the_mirror_is_refused(mirrored):
    built, url, _ = mirrored
    built.farm.set_variables({**mirrors(url), "CA_CERTIFICATES": None})
    build = built.request(source=GitSource(url=f"{url}/app.git", ref="main"), app="untrusted")
    assert (build.state, build.failure.code) == (State.FAILED, "app.source"), built.log(build)
    assert "certificate" in built.log(build)


def test_what_everyone_trusts_is_trusted_beside_it(mirrored):
    """Its certificates are added to the others and do not take their place."""
    built, url, authority = mirrored
    built.farm.set_variables(dict.fromkeys(mirrors(url)) | variables(CA_CERTIFICATES=authority))
    build = built(EXAMPLES / "node", app="both")
    assert build.state is State.SUCCEEDED, built.log(build)


def test_a_changed_mirror_is_built_anew_and_an_equal_one_is_not(proxied, tmp_path):
    built, _ = proxied
    app = write_files(tmp_path, {"index.html": "hello\n"})
    fields = {"app": "again"}
    built.farm.set_variables(variables(PIP_INDEX_URL="https://one.example.org/"), tenant=built.tenant, app="again")
    first, second = built(app, **fields), built(app, **fields)
    built.farm.set_variables(variables(PIP_INDEX_URL="https://two.example.org/"), tenant=built.tenant, app="again")
    third = built(app, **fields)
    assert (first.result_of, second.result_of, third.result_of) == (None, first.id, None)
    assert third.result.digest == first.result.digest  # no variable is in the image
