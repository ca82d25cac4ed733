"""Each bundled buildpack builds its example; the image answers over HTTP as `web`, and `worker` starts too."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from contextlib import contextmanager

import pytest

from testkit.buildpacks import run_image, succeeded
from testkit.builds import EXAMPLES, wait_for

APPS = {
    "apt": ["apt", "procfile"],
    "inline": ["inline"],
    "java": ["java"],
    "node": ["nodejs"],
    "perl": ["perl"],
    "php": ["php"],
    "procfile": ["procfile"],
    "python": ["python"],
    "ruby": ["ruby"],
    "static": ["static"],
}
ANSWER_SECONDS = 30
GRACE_SECONDS = 60  # then the engine kills


@contextmanager
def serving(image, *options):
    """The image's web process, as the address that it answers on."""
    command = ["docker", "run", "--detach", "--init", "--publish", "127.0.0.1::8080", *options, image]
    container = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    try:
        asked = ["docker", "port", container, "8080/tcp"]
        address = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split()[0]
        yield f"http://{address}/", container
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", container], check=False, capture_output=True)


def answer(url, container):
    found = []

    def answers():
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                found.append(response.read().decode())
        except OSError:
            return False
        return True

    def logs():
        return subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=False)

    wait_for(answers, ANSWER_SECONDS, logs)
    return found[-1]


@pytest.fixture(scope="module")
def examples(built):
    """All of them built, two at a time."""
    sources = {name: built.farm.pack(EXAMPLES / name, built.tenant)[0] for name in APPS}
    ids = {name: built.submit(source=source, app=name) for name, source in sources.items()}
    return {name: built.ended(build_id) for name, build_id in ids.items()}


@pytest.mark.parametrize("name", APPS)
def test_an_example_answers_over_http_and_its_worker_starts(built, examples, name):
    build = examples[name]
    assert [used.name for used in succeeded(built, build).buildpacks] == APPS[name]
    with serving(built.farm.image(build), "--env", "GREETING=good day") as (url, container):
        told = answer(url, container)
        assert ("good day" in told) if name != "static" else ("<" in told)
        started = time.monotonic()
        stop = ["docker", "stop", "--time", str(GRACE_SECONDS), container]
        subprocess.run(stop, check=True, capture_output=True)
        # The process itself gets the signal, so that nobody waits for the engine to lose its patience.
        assert time.monotonic() - started < GRACE_SECONDS
    if name != "static":
        assert "worker says hello" in run_image(built, build, "worker")


def test_profile_and_config_vars_are_seen_at_run_time(built, examples):
    with serving(built.farm.image(examples["inline"])) as (url, container):
        assert answer(url, container) == '{"app":"inline","flavour":"plain","greeting":"hello"}'
