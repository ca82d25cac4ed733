"""Brings every app to the image that it is to run. Start reading here.

`look` compares what is with what should be, and closes the gap. A lost webhook or a kill at any line does no harm.
"""

import logging
import queue
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
from docker.errors import DockerException

from buildfarm.client import Client
from buildfarm.errors import BuildfarmError
from buildfarm.oci.registry import Registry
from buildfarm.oci.signatures import checking
from buildfarm.oci.signatures.keys import PublicKey
from buildfarm.releases.rollouts.rules.reports import HealthReport, Status
from examples.orchestrator.containers import Containers
from examples.orchestrator.decisions import Container, find_previous, find_wanted, must_start
from examples.orchestrator.front import Front

LOOK_SECONDS = 30.0  # so often every app is looked at, whatever webhooks come
AT_ONCE = 4
log = logging.getLogger("orchestrator")


@dataclass
class Orchestrator:
    """The apps that it runs, each on a port that never changes."""

    farm: Client
    containers: Containers
    front: Front
    ports: Mapping[str, int]  # by tenant/app
    patience_seconds: float = 20.0  # for the first good answer of a new container
    keys: Sequence[PublicKey] = ()  # one of them must have signed an image that is started; none: any image is
    woken: queue.Queue[str] = field(default_factory=queue.Queue)  # apps that webhooks named

    def run(self) -> None:
        """Looks at all apps, then at those that webhooks name, and at all again from time to time."""
        apps, all_again = set[str](), 0.0
        while True:
            if time.monotonic() > all_again:
                apps, all_again = set(self.ports), time.monotonic() + LOOK_SECONDS
            self.front.start()
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(self._try, sorted(apps)))
            apps = self._wait(all_again - time.monotonic())

    def look(self, app: str) -> None:
        """Start the wanted image beside the old one, check it, switch to it, report, and stop the old one."""
        image = self.farm.app_image(*app.split("/")).image
        there = self.containers.all(app)
        wanted = find_wanted(there, image)
        if wanted is None or must_start(wanted, there, time.time()):
            self.require_signature(app, image)
            log.info("%s: starting %s", app, image[:15])
            wanted = self.containers.start(app, image, wanted)
        previous, fault = find_previous(there, wanted), self.check(wanted)
        serving = previous if fault and previous else wanted
        if serving.address:
            self.front.route(app, self.ports[app], serving.address)
        self._report(wanted, fault)
        if fault and previous:
            self.containers.end(wanted, remove=False)
        for one in there:
            if not fault and one.id != wanted.id:
                self.containers.end(one, remove=True)

    def require_signature(self, app: str, image: str) -> None:
        """Raises SignatureError if none of the keys has signed the image for this app."""
        if self.keys:
            host = self.containers.registry
            scheme = "http" if host.startswith(("127.", "localhost", "[::1]")) else "https"
            with Registry(f"{scheme}://{host}") as registry:
                checking.verify(registry, f"apps/{app}", image, self.keys)

    def check(self, container: Container) -> str:
        """Why the container is not healthy; empty if it answers over HTTP without a server error."""
        if not container.address:
            return "its container has ended, or failed its check before"
        until = max(container.started_at + self.patience_seconds, time.time() + 1)
        while True:
            try:
                status = httpx.get(f"http://{container.address}/", timeout=5, trust_env=False).status_code
                fault = f"GET / is answered with {status}" if status >= 500 else ""
            except httpx.TransportError as error:
                fault = f"GET / gets no answer: {type(error).__name__}"
            if not fault or time.time() > until:
                return fault
            time.sleep(0.2)

    def _report(self, container: Container, fault: str) -> None:
        """How the app is on the image, and which images the farm must keep because containers need them."""
        log.info("%s: %s is %s", container.app, container.image[:15], fault or "healthy")
        self.farm.report_in_use({one.image for one in self.containers.all()}, reporter=self.containers.owner)
        tenant, app = container.app.split("/")
        report = HealthReport(
            tenant=tenant, app=app, status=Status.UNHEALTHY if fault else Status.HEALTHY,
            reason="failed_check" if fault else "", observed_at=time.time(), started_at=container.started_at,
            reporter=self.containers.owner, evidence=fault and f"{fault}\n{self.containers.last_lines(container)}",
        )  # fmt: skip
        self.farm.report_health(container.image, report)

    def _try(self, app: str) -> None:
        try:
            self.look(app)
        except (BuildfarmError, DockerException, OSError) as error:
            log.warning("%s: it is looked at again soon: %s", app, error)

    def _wait(self, seconds: float) -> set[str]:
        """The apps that webhooks named; empty if none came in time."""
        found = set()
        with suppress(queue.Empty):
            found.add(self.woken.get(timeout=max(0.0, seconds)))
            while True:
                found.add(self.woken.get_nowait())
        return found & self.ports.keys()
