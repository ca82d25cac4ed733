"""A separate farm for a look: a build node and an API as processes, in a namespace that nothing else uses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from buildfarm.farm import Farm, open_farm
from buildfarm.model import Build, BuildRequest, RunPolicy
from buildfarm.settings import read_settings
from buildfarm.sources.address import GitSource
from testkit.builds import empty_namespace, end_node
from testkit.serving import Api, free_port, serving

EXAMPLES = Path(__file__).parents[1] / "examples"
_WORKSPACES = Path("/var/lib/buildfarm/verify-workspaces")
_READY_SECONDS = 120


@dataclass(frozen=True)
class Live:
    """The running farm; ``node_metrics`` is host:port."""

    farm: Farm
    api: Api
    node_metrics: str

    def example(self, name: str) -> Path:
        """The folder of an example."""
        return EXAMPLES / name

    def submit(self, example: str, tenant: str, app: str, *, cached_result: bool = False) -> Build:
        """One of the examples; it is built even if it was before."""
        source, _ = self.farm.pack(EXAMPLES / example, tenant)
        return self.farm.submit(BuildRequest(tenant=tenant, app=app, source=source, cached_result=cached_result))

    def submit_script(self, script: str, tenant: str, app: str) -> Build:
        """A build that runs this bash script, as the script ``build`` of a Node app."""
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "package.json").write_text(json.dumps({"scripts": {"build": "bash build.sh"}}))
            (Path(folder) / "build.sh").write_text(script)
            (Path(folder) / "Procfile").write_text("web: true\n")
            source, _ = self.farm.pack(Path(folder), tenant)
        return self.farm.submit(BuildRequest(tenant=tenant, app=app, source=source, run_policy=RunPolicy.ALL))

    def submit_bad(self, tenant: str, app: str) -> Build:
        """A build that fails by the app's fault."""
        return self.farm.submit(
            BuildRequest(tenant=tenant, app=app, source=GitSource(url="https://absent.invalid/a.git"))
        )

    def exercise(self) -> None:
        """Builds of two tenants that succeed, fail, are cancelled, and wait; returns when all have ended."""
        begun = [self.submit("static", "shop", f"site-{number}") for number in range(3)]
        begun += [self.submit("python", "shop", "web"), self.submit_bad("acme", "broken")]
        waiting = self.submit("static", "acme", "later")
        self.farm.cancel(waiting.id)
        for build in begun:
            self.farm.wait(build.id, timeout_seconds=120)


@contextmanager
def live_farm(**variables: str) -> Iterator[Live]:
    """The farm for the length of the block; it leaves nothing behind. ``variables`` go to both processes."""
    settings = read_settings().model_copy(update={"namespace": f"verify-{uuid.uuid4().hex[:8]}:"})
    # Crowds of followers share a token.
    variables = {"BUILDFARM_METRICS_TENANTS": "true", "BUILDFARM_API_TOKEN_STREAMS_MAX": "300", **variables}
    with ExitStack() as stack:
        farm = stack.enter_context(open_farm(settings))
        stack.callback(empty_namespace, settings)
        node_metrics = stack.enter_context(_node(farm, variables))
        api = stack.enter_context(serving(farm, **variables))
        yield Live(farm, api, node_metrics)


@contextmanager
def _node(farm: Farm, variables: dict[str, str]) -> Iterator[str]:
    node_id, port = f"verify-{uuid.uuid4().hex[:8]}", free_port()
    _WORKSPACES.mkdir(parents=True, exist_ok=True)
    log = _WORKSPACES / f"{node_id}.log"
    environment = {
        **os.environ,
        "BUILDFARM_NAMESPACE": farm.settings.namespace,
        "BUILDFARM_NODE_ID": node_id,
        "BUILDFARM_SANDBOX_NETWORK": farm.settings.sandbox_network,
        "BUILDFARM_WORKSPACE_DIRECTORY": str(_WORKSPACES),
        "BUILDFARM_CACHE_DIRECTORY": str(_WORKSPACES / f"{node_id}.caches"),
        "BUILDFARM_METRICS_PORT": str(port),
        "BUILDFARM_LOG_FORMAT": "json",
        **variables,
    }
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "workers"], env=environment, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + _READY_SECONDS
        while not any(node.id == node_id and node.accepting for node in farm.nodes()):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the build node did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        end_node(process, 30, farm.settings, _WORKSPACES, node_id)
