"""Commands that read a build import no more than it takes: what they leave out decides how soon they answer."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest

from testkit.archive import Life

# After the command, which ends the process: the farm's own modules and the packages of others that it imported.
RUN = (
    "import atexit, sys\n"
    "atexit.register(lambda: print(sorted(sys.modules), file=sys.stderr))\n"
    "from buildfarm.cli import main\n"
    "main()\n"
)
OWN_MAX = 51  # a module takes about a millisecond
TO_SEND = {"httpx", "isal", "zstandard", "buildfarm.oci.registry", "buildfarm.sources.packing"}
ELSEWHERE = {"buildfarm.client", "buildfarm.gc.room", "buildfarm.gc.retention", "buildfarm.store.leases", "celery"}


@pytest.fixture(scope="module")
def life(module_farm):
    return Life(module_farm)


def imported(life, *arguments):
    """What the command printed, and the modules that were there at its end."""
    environment = {name: value for name, value in os.environ.items() if name != "BUILDFARM_URL"}
    environment["BUILDFARM_NAMESPACE"] = life.farm.settings.namespace
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments], env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout, set(ast.literal_eval(done.stderr.strip().rpartition("\n")[2]))


def own(modules):
    return {name for name in modules if name.partition(".")[0] in ("buildfarm", "workers", "localfarm")}


def test_a_list_imports_neither_what_sends_nor_what_prints_tables(life):
    build_id = life.end()
    text, modules = imported(life, "list")
    assert build_id in text
    assert not modules & (TO_SEND | ELSEWHERE | {"rich", "structlog", "buildfarm.store.archive.catalog"})
    assert len(own(modules)) <= OWN_MAX, sorted(own(modules))


def test_an_image_is_named_without_a_connection_to_its_registry(life):
    build_id = life.end()
    wanted = f"{life.farm.registry.host}/apps/{life.tenant}/a@sha256:"
    for arguments in (["show", build_id], ["show", build_id, "--json"], ["list", "--json"]):
        text, modules = imported(life, *arguments)
        assert wanted in text
        assert not modules & (TO_SEND | ELSEWHERE)


def test_a_log_that_redis_has_is_printed_without_a_connection_to_the_registry(life):
    build_id = life.end(lines=2)
    text, modules = imported(life, "logs", build_id)
    assert text.splitlines() == [f"compile line {number} of {build_id}" for number in range(2)]
    assert not modules & (TO_SEND | ELSEWHERE | {"rich"})


def test_what_is_in_the_archive_is_found_as_before(life):
    build_id = life.end("old", lines=2)
    assert life.archive() >= 1
    text, modules = imported(life, "logs", build_id)
    assert len(text.splitlines()) == 2
    assert "buildfarm.oci.registry" in modules
    assert build_id in imported(life, "list", "--app", f"{life.tenant}/old")[0]
