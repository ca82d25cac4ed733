"""Image builds: Redis from packages, used for real; a Dockerfile; and recipes that cannot be, each with its reason."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import shutil
import subprocess
import tarfile
import time
import uuid
from pathlib import Path

import pytest

from buildfarm.cli.images import submit
from buildfarm.errors import RequestError
from buildfarm.model import Phase, State
from buildfarm.recipes.folder import CHECKOUT_RECIPES as RECIPES
from buildfarm.recipes.folder import find_recipes
from buildfarm.recipes.recipe import BASE
from localfarm.beginnings import ensure_sent
from localfarm.images import SUITE, ensure_base
from testkit.builds import Builds, wait_for
from testkit.registry.validate import validate
from workers.engine import open_engine

CLEARED_SECONDS = 30
REDIS = find_recipes(RECIPES)["redis"]
STAND_IN = """
name = "NAME"
summary = "A stand-in: an archive that this test made, and no server of any vendor"
[versions."1"]
suite = "trixie"
archive = { url = "http://127.0.0.1:9/stand-in.tgz", sha256 = "SHA256", into = "/opt/stand-in", licence = "none" }
[slim]
packages = ["busybox"]
programs = ["/usr/bin/busybox"]
files = ["/opt/stand-in"]
links = { "/usr/bin/sh" = "busybox", "/usr/bin/wget" = "busybox" }
[image]
entrypoint = ["/opt/stand-in/server"]
user = 999
volume = "/data"
port = 8080
health = ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/"]
[budget]
uncompressed_mb = 6
compressed_mb = 3
[smoke]
stop_code = 143
write = { run = ["wget", "-q", "-O", "-", "http://database:8080/"], prints = "^a stand-in$" }
read = { run = ["wget", "-q", "-O", "-", "http://database:8080/"], prints = "^a stand-in$" }
"""
TOOL = """
name = "NAME"
summary = "No server"
made_from = ["base"]
[dockerfile]
takes = ["Dockerfile", "hello"]
file = "Dockerfile"
arguments = { GREETING = "{version}" }
trusts = "trusted.crt"
[versions."1"]
suite = "trixie"
[budget]
uncompressed_mb = 200
compressed_mb = 100
[[smoke.features]]
name = "it greets"
run = ["hello"]
prints = "^hello 1$"
[[smoke.features]]
name = "it has no network"
run = ["cat", "/proc/net/route"]
prints = '^Iface[^\\n]*\\Z'
"""
DOCKERFILE = """
ARG BASE
FROM ${BASE} AS first
LABEL made-for=NAME
COPY trusted.crt /
RUN test -s /trusted.crt && mkdir /made && echo made >/made/file
FROM ${BASE}
LABEL made-for=NAME
ARG GREETING
COPY --from=first /made /made
COPY hello /usr/local/bin/hello
RUN echo "memory: $(cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null)" \\
 && echo "address: $(hostname -I)" && sed -i "s/GREETING/$GREETING/" /usr/local/bin/hello
"""
HELLO = "#!/bin/sh\ntest -f /made/file && test ! -e /trusted.crt && echo hello GREETING\n"
SERVER = """#!/bin/sh
trap 'exit 143' TERM
busybox httpd -f -p 8080 -h /opt/stand-in &
wait
"""


@pytest.fixture
def name(built):
    """An image of this test's own: its repository was never written before."""
    return f"{built.tenant}-{uuid.uuid4().hex[:8]}"


def changed(tmp_path: Path, name: str, *changes: tuple[str, str]) -> Path:
    """The recipe of Redis under another name, with some of its text replaced."""
    folder = tmp_path / "recipe"
    shutil.copytree(REDIS, folder)
    text = (folder / "recipe.toml").read_text()
    for old, new in (('name = "redis"', f'name = "{name}"'), *changes):
        assert old in text
        text = text.replace(old, new)
    (folder / "recipe.toml").write_text(text)
    return folder


def stand_in(tmp_path: Path, name: str) -> tuple[Path, Path]:
    """A recipe that takes an archive, and the archive."""
    content = tmp_path / "stand-in-1"
    content.mkdir()
    (content / "server").write_text(SERVER)
    (content / "server").chmod(0o755)
    (content / "index.html").write_text("a stand-in\n")
    archive = tmp_path / "stand-in.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(content, content.name)
    folder = tmp_path / "recipe"
    folder.mkdir()
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    (folder / "recipe.toml").write_text(STAND_IN.replace("NAME", name).replace("SHA256", sha256))
    return folder, archive


@pytest.fixture(scope="module")
def base(built):
    """What Dockerfiles stand on is in the registry, as `buildfarm up` sends it there."""
    client = open_engine(built.farm.settings.docker_url)
    try:
        name = ensure_base(client, built.farm.settings.docker_url, "", print)
        yield ensure_sent(client, built.farm.registry, name, f"images/{BASE}", print, tag=SUITE)
    finally:
        client.close()


def replaced(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        text = text.replace(old, new)
    return text


def tool(tmp_path: Path, name: str, *changes: tuple[str, str]) -> Path:
    """A recipe with a Dockerfile, some of its text replaced; all that is made of it has a label with its name."""
    folder = tmp_path / "recipe"
    folder.mkdir()
    for file, text in (("recipe.toml", TOOL), ("Dockerfile", DOCKERFILE), ("hello", HELLO)):
        (folder / file).write_text(replaced(text, ("NAME", name), *changes))
    (folder / "hello").chmod(0o755)
    return folder


def left_on_engine(name: str) -> list[str]:
    """Containers and images of that recipe's Dockerfile, those of steps too."""
    label = f"label=made-for={name}"
    return [
        line
        for ask in (["ps", "--all", "--quiet"], ["images", "--all", "--quiet"])
        for line in subprocess.run(
            ["docker", *ask, "--filter", label], check=True, capture_output=True, text=True
        ).stdout.split()
    ]


def subnet_of(network: str) -> ipaddress.IPv4Network:
    ask = ["docker", "network", "inspect", "--format", "{{range .IPAM.Config}}{{.Subnet}}{{end}}", network]
    return ipaddress.IPv4Network(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip())


def refused(built: Builds, name: str, folder: Path, version: str, **given) -> tuple[str, str]:
    """Code and message of a build that must fail; nothing may be tagged."""
    build = built.ended(submit(built.farm, folder, name, version, **given).id)
    assert build.state is State.FAILED
    assert not built.farm.registry.has_manifest(f"images/{name}", version)
    return build.failure.code, build.failure.message


@pytest.mark.timeout(400)
def test_redis_is_built_tried_and_tagged_and_the_same_again(built, tmp_path, name):
    folder = changed(tmp_path, name)
    first = built.ended(submit(built.farm, folder, name, "7.0").id)
    assert first.state is State.SUCCEEDED, first.failure
    registry, digest = built.farm.registry, first.result.digest
    assert registry.get_manifest(f"images/{name}", "7.0")[2] == digest
    validate(registry, f"images/{name}", digest)
    assert any(package.startswith("redis-server=") for package in first.result.packages)
    assert first.result.phase_seconds[Phase.SMOKE] > 0
    log = built.log(first)
    for told in ("runs as user 999", "refuses a wrong password", "Lua with cjson", "data over kill -9"):
        assert f"smoke: {told}" in log or told in log
    again = built.ended(submit(built.farm, folder, name, "7.0").id)
    assert again.result.digest == digest
    assert again.result.uploaded_bytes == 0
    wait_for(lambda: built.node.left_behind() == [], CLEARED_SECONDS, built.node.left_behind)


def test_a_version_that_is_not_there_fails_the_build(built, tmp_path, name):
    code, message = refused(built, name, changed(tmp_path, name), "9.9")
    assert code == "app.recipe"
    assert "has no version '9.9'" in message


def test_an_image_over_its_budget_is_not_tagged(built, tmp_path, name):
    folder = changed(tmp_path, name, ("uncompressed_mb = 20", "uncompressed_mb = 2"))
    code, message = refused(built, name, folder, "7.0")
    assert code == "app.too_large"
    assert "over its budget: 12." in message


def test_an_image_that_fails_its_smoke_test_is_not_tagged(built, tmp_path, name):
    folder = changed(tmp_path, name, ('"greeting", "grüß dich"], prints = "^OK$"', '"greeting"], prints = "^OK$"'))
    code, message = refused(built, name, folder, "7.0")
    assert code == "app.smoke"
    assert "fails its smoke test at 'writes'" in message
    assert "wrong number of arguments" in message
    wait_for(lambda: built.node.left_behind() == [], CLEARED_SECONDS, built.node.left_behind)


def test_an_archive_is_taken_from_a_file_that_the_request_names(built, tmp_path, name):
    folder, archive = stand_in(tmp_path, name)
    build = built.ended(submit(built.farm, folder, name, "1", mirror=str(archive)).id)
    assert build.state is State.SUCCEEDED, build.failure


def test_another_archive_than_the_recipe_pins_fails_the_build(built, tmp_path, name):
    folder, archive = stand_in(tmp_path, name)
    archive.write_bytes(archive.read_bytes() + b"more")
    code, message = refused(built, name, folder, "1", mirror=str(archive))
    assert code == "app.source"
    assert "has the SHA-256" in message


def test_an_archive_that_is_not_reachable_fails_the_build(built, tmp_path, name):
    folder, _ = stand_in(tmp_path, name)
    code, message = refused(built, name, folder, "1")
    assert code == "app.source"
    assert "The archive is not reachable: http://127.0.0.1:9/stand-in.tgz" in message


def test_an_archive_that_nobody_vouches_for_is_not_even_fetched(built, tmp_path, name):
    folder, _ = stand_in(tmp_path, name)
    text = (folder / "recipe.toml").read_text()
    (folder / "recipe.toml").write_text(re.sub('sha256 = "[0-9a-f]*", ', "", text))
    code, message = refused(built, name, folder, "1")
    assert code == "app.recipe"
    assert "does not pin the SHA-256" in message


def test_a_digest_that_is_asked_for_goes_before_the_recipes(built, tmp_path, name):
    folder, archive = stand_in(tmp_path, name)
    code, message = refused(built, name, folder, "1", mirror=str(archive), sha256="0" * 64)
    assert code == "app.source"
    assert f"but {'0' * 64} is expected" in message


def test_a_mirror_that_is_neither_address_nor_file_is_refused_at_once(built, tmp_path, name):
    with pytest.raises(RequestError, match="neither an address nor a file"):
        submit(built.farm, REDIS, "redis", "7.0", mirror=str(tmp_path / "nothing"))


@pytest.mark.usefixtures("base")
def test_a_dockerfile_is_built_in_the_sandboxes_network_tried_and_tagged_and_the_same_again(built, tmp_path, name):
    folder = tool(tmp_path, name)
    first = built.ended(submit(built.farm, folder, name, "1").id)
    assert first.state is State.SUCCEEDED, first.failure
    registry, digest = built.farm.registry, first.result.digest
    assert registry.get_manifest(f"images/{name}", "1")[2] == digest
    validate(registry, f"images/{name}", digest)
    log = built.log(first)
    assert "smoke: it greets" in log
    assert "smoke: it has no network" in log
    settings = built.farm.settings
    assert re.search(r"^memory: (\d+)$", log, re.MULTILINE)[1] == str(settings.memory_bytes)
    address = re.search(r"^address: (\S+)", log, re.MULTILINE)[1]
    assert ipaddress.IPv4Address(address) in subnet_of(settings.sandbox_network)
    assert left_on_engine(name) == []
    # Another second in everything that is dated
    wait_for(lambda: int(time.time()) > int(first.finished_at), 10)
    again = built.ended(submit(built.farm, folder, name, "1").id)
    assert again.result.digest == digest
    assert again.result.uploaded_bytes == 0
    wait_for(lambda: built.node.left_behind() == [], CLEARED_SECONDS, built.node.left_behind)
    assert left_on_engine(name) == []


@pytest.mark.usefixtures("base")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            ("test -s /trusted.crt", "echo no such thing >&2; exit 3"),
            ("app.recipe", "returned a non-zero code: 3: no such thing"),
        ),
        (("^hello 1$", "^goodbye$"), ("app.smoke", "fails its smoke test at 'it greets'")),
        (
            ("uncompressed_mb = 200", "uncompressed_mb = 2"),
            ("app.too_large", r"over its budget: \d+\.\d+ MB uncompressed of 2"),
        ),
    ],
    ids=["a step fails", "its smoke test fails", "it is over its budget"],
)
def test_a_dockerfile_that_fails_says_why_and_nothing_is_tagged_or_left(built, tmp_path, name, change, expected):
    code, message = refused(built, name, tool(tmp_path, name, change), "1")
    assert code == expected[0]
    assert re.search(expected[1], message)
    assert left_on_engine(name) == []


@pytest.mark.usefixtures("base")
def test_a_dockerfile_that_is_cancelled_ends_with_its_step(built, tmp_path, name):
    folder = tool(tmp_path, name, ("test -s /trusted.crt", "echo it begins && sleep 300"))
    build = submit(built.farm, folder, name, "1")
    wait_for(lambda: "it begins" in built.log(build), 60, lambda: built.log(build))
    cancelled_at = time.monotonic()
    built.farm.cancel(build.id)
    assert built.ended(build.id).state is State.CANCELLED
    wait_for(lambda: left_on_engine(name) == [], CLEARED_SECONDS, lambda: left_on_engine(name))
    assert time.monotonic() - cancelled_at < CLEARED_SECONDS


def test_a_dockerfile_without_its_base_says_what_is_missing(built, tmp_path, name):
    code, message = refused(built, name, tool(tmp_path, name, ('suite = "trixie"', 'suite = "nosuch"')), "1")
    assert code == "app.recipe"
    assert f"{name} is made from images/base:nosuch, which is not in the registry" in message
