"""A worker on a second engine, with a data root and network of its own, builds from the same queue."""

from __future__ import annotations

import os

import pytest

from buildfarm.model import State
from localfarm.packages import ensure_packages
from testkit.builds import EXAMPLES, Builds, promised, wait_for
from testkit.cluster.shell import run
from testkit.second_engine import PROGRAMS, second_engine

REPAIRED_SECONDS = 20


@pytest.mark.timeout(400)
def test_the_only_node_is_on_another_engine_and_repairs_what_is_pruned_there(farm):
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    ensure_packages(PROGRAMS, print)
    with second_engine(farm) as second:
        docker = ("docker", "--host", second.docker_url)
        build = Builds(farm, None)(EXAMPLES / "static", "two")

        def containers():
            return run(*docker, "ps", "--all", "--quiet").split()

        def remove_all():
            for container in containers():
                run(*docker, "rm", "--force", container, check=False)  # the node may be removing it, too
            run(*docker, "system", "prune", "--all", "--force")

        def there():
            networks = run(*docker, "network", "ls", "--format={{.Name}}").split()
            return run(*docker, "images", "--quiet") and any("builds" in name for name in networks)

        remove_all()
        pruned = Builds(farm, None)(EXAMPLES / "static", "pruned")
        remove_all()
        wait_for(there, promised(REPAIRED_SECONDS), lambda: run(*docker, "system", "df"))
    assert build.state is State.SUCCEEDED
    assert build.node == second.id
    assert build.result.uploaded_bytes < 10_000
    assert (pruned.state, pruned.attempt) == (State.SUCCEEDED, 1)
