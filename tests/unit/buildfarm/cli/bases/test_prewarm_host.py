"""`buildfarm prewarm-host` with programs in the place of docker and crictl, and a farm that answers from a list."""

from __future__ import annotations

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from buildfarm.cli.details.bases import prewarm_host
from buildfarm.errors import ApiError, NodeError, QueueFullError, RequestError
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
        self.reports, self.failures, self.lists, self.refusals = [], failures, 0, []

    def announced_bases(self):
        self.lists += 1
        return self._announced()

    def _announced(self):
        if self.failures:
            self.failures -= 1
            raise ApiError("The farm cannot be reached.")
        return [AnnouncedBase(base=base, image=f"registry:5000/{base}", reasons=("a test",)) for base in (NEW, OLD)]

    def report_host(self, host, bases):
        if self.refusals:
            raise self.refusals.pop()
        self.reports.append((host, set(bases)))
        return self._announced()


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host with one base of two, and one that is not announced; ``run`` calls the command."""

    class Host:
        images = tmp_path / "images"

        def __init__(self):
            self.farm, self.waits = Farm(), []

        def looks(self, number):
            """Ends the command after so many looks."""

            def wait(seconds):
                self.waits.append(seconds)
                if len(self.waits) == number:
                    raise SystemExit(0)

            monkeypatch.setattr(prewarm_host, "time", SimpleNamespace(sleep=wait))
            return self.run()

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


def test_it_goes_on_if_the_farm_cannot_be_reached(host):
    host.install()
    host.farm.failures = 1
    done = host.looks(3)
    assert done.exit_code == 0
    assert "The farm cannot be reached." in done.output
    assert done.output.count(f"ready    {NEW}") == 1  # the third look finds it there
    assert host.farm.reports[-1] == ("h1", {OLD, NEW})


def test_a_look_that_finds_nothing_new_is_one_call(host):
    host.install()
    host.looks(4)
    assert host.farm.lists == 1
    assert len(host.farm.reports) == 2 + 3


def test_what_is_announced_later_is_pulled(host, monkeypatch):
    host.install()
    newer, announced = f"images/builder@sha256:{'4' * 64}", host.farm._announced
    later = AnnouncedBase(base=newer, image=f"registry:5000/{newer}", reasons=("a plan",))
    monkeypatch.setattr(host.farm, "_announced", lambda: [*announced(), *([later] if host.waits else [])])
    host.looks(2)
    assert f"registry:5000/{newer}" in host.names()
    assert host.farm.reports[-1] == ("h1", {OLD, NEW, newer})


def test_a_host_that_calls_too_often_waits_as_long_as_it_is_told(host, monkeypatch):
    host.install()
    limited = QueueFullError("This token is limited.", retry_after_seconds=900)

    def refused():
        raise limited

    monkeypatch.setattr(host.farm, "announced_bases", refused)
    done = host.looks(1)
    assert (done.exit_code, host.waits) == (0, [900])
    assert "This token is limited." in done.output


def test_bases_are_pulled_if_the_report_is_refused(host):
    host.install()
    host.farm.refusals = [RequestError("10,000 hosts report already.") for _ in range(2)]
    done = host.looks(1)
    assert done.exit_code == 0
    assert f"registry:5000/{NEW}" in host.names()
    assert done.output.count("10,000 hosts report already.") == 1


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
