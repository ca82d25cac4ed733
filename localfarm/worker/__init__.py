"""The local build node."""

from __future__ import annotations

import time
from pathlib import Path

from buildfarm.errors import BuildfarmError, SetupError
from buildfarm.node import Node, NodeState
from buildfarm.settings import Settings
from buildfarm.store import Nodes, open_database
from localfarm import process
from localfarm.packages import last_lines
from localfarm.waiting import wait_until

PID_FILE = "worker.pid"
LOG_FILE = "worker.log"
READY_SECONDS = 600  # a node pulls the builder before it takes builds


def running_worker(directory: Path) -> process.Process | None:
    """The local node's process, if it runs."""
    return process.running(directory / PID_FILE)


def start_worker(directory: Path, settings: Settings, storage: Path | None) -> None:
    """Starts the node and returns when it takes builds; it collects the garbage in the registry's ``storage``.

    Raises SetupError with its last log lines if it does not.
    """
    log = directory / LOG_FILE
    begun_at = time.time()
    # For this node alone: a process of another namespace that reads farm.env must not collect here.
    variables = {"BUILDFARM_REGISTRY_STORAGE": str(storage)} if storage else {}
    started = process.start(directory, ["-m", "workers"], directory / PID_FILE, log, variables)

    def ready() -> bool:
        node = find_node(settings)
        return not started.alive or (node is not None and node.accepting and node.seen_at >= begun_at)

    if not wait_until(ready, READY_SECONDS) or not started.alive:
        raise SetupError(
            f"The build node did not start:\n{last_lines(log.read_text(errors='replace'))}",
            advice=f"Correct what its log names, then run `buildfarm up` again. The whole log is {log}.",
        )


def stop_worker(directory: Path, seconds: float) -> bool:
    """Drains the node for at most ``seconds``, then kills it; False if none runs."""
    return process.stop(directory / PID_FILE, seconds)


def find_node(settings: Settings) -> Node | None:
    """This machine's node, as the farm sees it; None if the farm does not see it."""
    database = open_database(settings)
    try:
        found = (node for node in Nodes(database).all() if node.id == settings.node_id)
        return next((node for node in found if node.state is not NodeState.GONE), None)
    except BuildfarmError:
        return None
    finally:
        database.close()
