"""`buildfarm prewarm-host` with programs in the place of docker and crictl, and a farm that answers from a list."""

from __future__ import annotations

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from buildfarm.cli.details.bases import prewarm_host
from buildfarm.errors import ApiError, NodeError, RequestError
from buildfarm.releases.rollouts.views import AnnouncedBase

NEW, OLD, GONE = (f"images/builder@sha256:{digit * 64}" for digit in "123")

# Keeps the images of a host in a file, and prints what the real command does.
DOCKER = """#!/bin/sh
case "$1 $2" in
  "image ls") cat {images} 2>/dev/null | grep "^$7@" ;;
  "image rm") [ "$3" = "{used}" ] && exit 1; grep -v "^$3$" {images} > {images}.new; mv {images}.new {images} ;;
  "pull"*) case "$2" in *{broken}*) echo "error: no such host" >&2; exit 1 ;; esac; echo "$2" >> {images} ;;
esac
exit 0
"""
CRICTL = """#!/bin/sh
case "$1" in
  images) echo '{{"images": ['
    sep=""
    while read -r name; do echo "$sep{{\\"id\\": \\"1\\", \\"repoDigests\\": [\\"$name\\"]}}"; sep=,; done < {images}
    echo ']}}' ;;
  rmi) grep -v "^$2$" {images} > {images}.new; mv {images}.new {images} ;;
  pull) echo "$2" >> {images} ;;
esac
exit 0
"""


class Farm:
    """Announces two bases, and keeps what is reported."""

    def __init__(self, *, failures=0):
        self.reports, self.failures = [], failures

    def announced_bases(self):
        if self.failures:
            self.failures -= 1
            raise ApiError("The farm cannot be reached.")
        return [AnnouncedBase(base=base, image=f"registry:5000/{base}", reasons=("a test",)) for base in (NEW, OLD)]

    def report_host(self, host, bases):
        self.reports.append((host, set(bases)))
        return self.announced_bases()


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host with one base of two, and one that is not announced; ``run`` calls the command."""

    class Host:
        images = tmp_path / "images"
        farm = Farm()
        waits = 0

        def install(self, tool="docker", broken="nothing", used="none"):
            text = {"docker": DOCKER, "crictl": CRICTL}[tool].format(images=self.images, broken=broken, used=used)
            (tmp_path / tool).write_text(text)
            (tmp_path / tool).chmod(0o755)

        def names(self):
            return set(self.images.read_text().split())

        def run(self, *arguments):
            return CliRunner().invoke(prewarm_host.prewarm_host, ["--name", "h1", *arguments])

    made = Host()
    made.images.write_text(f"registry:5000/{OLD}\nregistry:5000/{GONE}\nelsewhere/images/builder@sha256:1\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(prewarm_host, "signal", SimpleNamespace(signal=lambda *_: None, SIGTERM=15))

    @contextmanager
    def connected():
        yield made.farm

    monkeypatch.setattr(prewarm_host, "connected_farm", connected)
    return made


@pytest.mark.parametrize("engine", ["docker", "crictl"])
def test_a_missing_base_is_pulled_and_reported(host, engine):
    host.install(engine)
    done = host.run("--once", "--engine", engine)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == [f"ready    {OLD}", f"ready    {NEW}"]
    assert host.names() >= {f"registry:5000/{NEW}", f"registry:5000/{OLD}", f"registry:5000/{GONE}"}
    assert host.farm.reports == [("h1", {OLD}), ("h1", {OLD, NEW})]


@pytest.mark.parametrize("engine", ["docker", "crictl"])
def test_what_is_no_longer_named_goes_if_asked(host, engine):
    host.install(engine)
    done = host.run("--once", "--remove", "--json", "--engine", engine)
    assert json.loads(done.output) == {"ready": [OLD, NEW], "pulled": [NEW], "failed": [], "removed": [GONE]}
    assert f"registry:5000/{GONE}" not in host.names()
    assert "elsewhere/images/builder@sha256:1" in host.names()  # another registry's


def test_a_base_that_a_container_uses_stays(host):
    host.install(used=f"registry:5000/{GONE}")
    assert json.loads(host.run("--once", "--remove", "--json").output)["removed"] == []
    assert f"registry:5000/{GONE}" in host.names()


def test_a_base_that_cannot_be_pulled_ends_with_an_error_and_is_not_reported(host):
    host.install(broken=NEW)
    done = host.run("--once")
    assert isinstance(done.exception, NodeError)
    assert "no such host" in done.exception.message
    assert host.farm.reports[-1] == ("h1", {OLD})


def test_the_registry_s_name_on_the_host_takes_the_place_of_the_farm_s(host):
    host.install()
    host.run("--once", "--registry", "mirror.local")
    assert {f"mirror.local/{NEW}", f"mirror.local/{OLD}"} <= host.names()


def test_it_goes_on_if_the_farm_cannot_be_reached(host, monkeypatch):
    host.install()
    host.farm.failures = 1

    def wait(_seconds):
        host.waits += 1
        if host.waits == 3:
            raise SystemExit(0)

    monkeypatch.setattr(prewarm_host, "time", SimpleNamespace(sleep=wait))
    done = host.run()
    assert done.exit_code == 0
    assert "The farm cannot be reached." in done.output
    assert done.output.count(f"ready    {NEW}") == 1  # the third look finds it there
    assert host.farm.reports[-1] == ("h1", {OLD, NEW})


def test_a_token_that_is_refused_ends_it(host, monkeypatch):
    host.install()

    def refused():
        raise RequestError("The token is not valid.")

    monkeypatch.setattr(host.farm, "announced_bases", refused)
    assert isinstance(host.run().exception, RequestError)


def test_a_host_without_the_engine_s_command_is_told(host):
    done = host.run("--once", "--engine", "crictl")
    assert type(done.exception).__name__ == "SetupError"
    assert "crictl" in done.exception.message
