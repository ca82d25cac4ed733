"""The smoke phase of an image build: runs the image as users will, and checks what its recipe promises.

A server starts on an empty volume, as the image's own user, without capabilities and with a read-only root; clients
are containers of their own in the same network and reach it by name. The network leads nowhere else.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container
from docker.types import LogConfig, Mount

from buildfarm.errors import SmokeError
from buildfarm.recipes.parts import Step
from buildfarm.recipes.plan import DockerfilePlan, Plan, SlimPlan
from workers.attempt.signals import Check, Say
from workers.engine import engine_failures
from workers.ownership import LABEL_ATTEMPT, LABEL_NODE
from workers.sandbox.container import remove_container

SERVER = "database"

_PASSWORD = "/run/secrets/password"
_POLL_SECONDS = 0.1
_HEALTH_NANOSECONDS = 500_000_000
_CLIENT_SECONDS = 120
_OUTPUT_BYTES_MAX = 4000


@dataclass(frozen=True)
class SmokeTests:
    """Runs smoke tests on this node's engine; the fields are the limits of each container."""

    client: docker.DockerClient
    node_id: str
    memory_bytes: int
    pids_max: int

    def run(
        self, plan: SlimPlan | DockerfilePlan, image: str, name: str, folder: Path, *, say: Say, check: Check
    ) -> None:
        """The whole test; nothing is left of it. ``folder`` gets the password's file.

        Raises SmokeError that names the step and what it printed, NodeError, and what ``check`` raises.
        """
        if isinstance(plan, DockerfilePlan):
            self._show(plan, image, name, say=say, check=check)
            return
        with self.server(plan, image, name, folder) as server:
            test = SmokeTest(self, plan, image, name, server, say, check)
            test.start()
            test.not_root()
            test.passwords()
            test.step("writes", plan.smoke.write)
            test.step("reads", plan.smoke.read)
            for feature in plan.smoke.features:
                test.step(feature.name, feature)
            test.stop()
            test.start()
            test.step("keeps its data over a restart", plan.smoke.read)
            test.kill()
            test.start()
            test.step("keeps its data over kill -9", plan.smoke.read)

    def _show(self, plan: Plan, image: str, name: str, *, say: Say, check: Check) -> None:
        """The features of an image that is not a server, each in a container without a network."""
        for feature in plan.smoke.features:
            check()
            judge(plan, feature.name, feature, *self.run_client(image, None, name, feature.run, {}))
            say(f"smoke: {feature.name}")

    @contextmanager
    def loaded(self, archive: Path, reference: str) -> Iterator[None]:
        """The archive's image is on the engine for the length of the block. Raises NodeError."""
        with engine_failures("load the image"), archive.open("rb") as content:
            self.client.images.load(content)
        try:
            yield
        finally:
            with engine_failures("remove the image"):
                self.client.images.remove(reference, force=True)

    @contextmanager
    def server(
        self,
        plan: SlimPlan,
        image: str,
        name: str,
        folder: Path,
        *,
        command: Sequence[str] = (),
        mounts: Sequence[Mount] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Iterator[Server]:
        """The server's container in its own network, not started yet, for the length of the block."""
        password = secrets.token_urlsafe(18)
        file = folder / "password"
        file.write_text(password)
        file.chmod(0o444)
        labels = {LABEL_ATTEMPT: name, LABEL_NODE: self.node_id}
        with ExitStack() as undo:
            with engine_failures("make the smoke test's network"):
                network = self.client.networks.create(f"{name}-smoke", internal=True, labels=labels)
            undo.callback(network.remove)
            variables = {plan.smoke.password_file: _PASSWORD} if plan.smoke.password_file else {}
            with engine_failures("make the smoke test's server"):
                container = self.client.containers.create(
                    image,
                    command=list(command),
                    network=network.name,
                    name=f"{name}-smoke",
                    hostname=SERVER,
                    environment={**variables, **(environment or {})},
                    mounts=[Mount(_PASSWORD, str(file), type="bind", read_only=True), *mounts],
                    healthcheck={"interval": _HEALTH_NANOSECONDS},
                    **self.options(name),
                )
            undo.callback(remove_container, self.client, str(container.id))
            with engine_failures("name the smoke test's server"):
                network.disconnect(container)
                network.connect(container, aliases=[SERVER])
            yield Server(container, str(network.name), password)

    def options(self, name: str) -> dict[str, Any]:
        """What server and clients have in common."""
        return {
            "labels": {LABEL_ATTEMPT: name, LABEL_NODE: self.node_id},
            "read_only": True,
            "tmpfs": {"/tmp": "size=64m,mode=1777"},
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "mem_limit": self.memory_bytes,
            "memswap_limit": self.memory_bytes,
            "pids_limit": self.pids_max,
            "log_config": LogConfig(type=LogConfig.types.JSON, config={"max-size": "1m", "max-file": "1"}),
        }

    def run_client(
        self, image: str, server: Server | None, name: str, command: tuple[str, ...], environment: Mapping[str, str]
    ) -> tuple[int, str]:
        """A command in a client's container: how it ended, and what it printed. Raises NodeError."""
        with engine_failures("run a smoke test's client"):
            container = self.client.containers.create(
                image,
                command=list(command[1:]),
                entrypoint=[command[0]],
                environment=dict(environment),
                network=server.network if server else "none",
                healthcheck={"test": ["NONE"]},
                **self.options(name),
            )
            try:
                container.start()
                code = int(container.wait(timeout=_CLIENT_SECONDS)["StatusCode"])
                return code, container.logs().decode(errors="replace")[-_OUTPUT_BYTES_MAX:].strip()
            finally:
                remove_container(self.client, str(container.id))


@dataclass(frozen=True)
class Server:
    """The container under test, its network, and the password it was given."""

    container: Container
    network: str
    password: str


@dataclass(frozen=True)
class SmokeTest:
    """One run of the test, step by step; each raises SmokeError."""

    smokes: SmokeTests
    plan: SlimPlan
    image: str
    name: str
    server: Server
    say: Say
    check: Check

    def start(self) -> None:
        """It starts, and its own health check says so in time."""
        started = time.monotonic()
        container = self.server.container
        with engine_failures("start the smoke test's server"):
            container.start()
        while True:
            self.check()
            with engine_failures("inspect the smoke test's server"):
                container.reload()
            state = container.attrs["State"]
            if not state["Running"]:
                raise self._failed("start", f"it ended with {state['ExitCode']}: {self._written()}")
            if state["Health"]["Status"] == "healthy":
                break
            if time.monotonic() - started > self.plan.smoke.ready_seconds:
                raise self._failed(
                    "start", f"it is not healthy after {self.plan.smoke.ready_seconds:g} s: {self._written()}"
                )
            time.sleep(_POLL_SECONDS)
        self.say(f"smoke: healthy after {time.monotonic() - started:.1f} s")

    def not_root(self) -> None:
        """Its processes run as the recipe's user."""
        with engine_failures("list the smoke test's processes"):
            top = self.server.container.top(ps_args="-eo uid,pid,comm")
        users = {int(row[0]) for row in top["Processes"]}
        if users != {self.plan.image.user}:
            raise self._failed("user", f"its processes run as {sorted(users)}, not as {self.plan.image.user}")
        self.say(f"smoke: runs as user {self.plan.image.user}")

    def passwords(self) -> None:
        """A wrong password is refused."""
        if self.plan.smoke.refused is not None:
            self.step("refuses a wrong password", self.plan.smoke.refused, password="not-this-one", any_code=True)

    def step(self, name: str, step: Step, *, password: str | None = None, any_code: bool = False) -> None:
        """A client's command prints what it must."""
        self.check()
        variable = self.plan.smoke.client_password
        environment = {variable: password or self.server.password} if variable else {}
        code, printed = self.smokes.run_client(self.image, self.server, self.name, step.run, environment)
        judge(self.plan, name, step.model_copy(update={"code": None}) if any_code else step, code, printed)
        self.say(f"smoke: {name}")

    def stop(self) -> None:
        """The stop signal ends it in time, and with 0."""
        limit, started = self.plan.smoke.stop_seconds, time.monotonic()
        with engine_failures("stop the smoke test's server"):
            self.server.container.stop(timeout=int(limit))
            code = int(self.server.container.wait(timeout=_CLIENT_SECONDS)["StatusCode"])
        seconds = time.monotonic() - started
        if code != self.plan.smoke.stop_code:
            raise self._failed("stop", f"it ended with {code} after {seconds:.1f} s: {self._written()}")
        self.say(f"smoke: {self.plan.image.stop_signal} ends it within {seconds:.1f} s with {code}")

    def kill(self) -> None:
        """Kills it with SIGKILL."""
        with engine_failures("kill the smoke test's server"):
            self.server.container.kill()
            self.server.container.wait(timeout=_CLIENT_SECONDS)

    def _written(self) -> str:
        with engine_failures("read the smoke test's output"):
            return self.server.container.logs(tail=8).decode(errors="replace").strip()[-1500:]

    def _failed(self, step: str, reason: str) -> SmokeError:
        return failure(self.plan, step, reason)


def judge(plan: Plan, name: str, step: Step, code: int, printed: str) -> None:
    """Raises SmokeError if a step did not print or end as it must."""
    command = " ".join(step.run)[:200]
    if not re.search(step.prints, printed, re.MULTILINE):
        raise failure(plan, name, f"`{command}` printed {printed!r}, and not {step.prints!r}")
    if code != step.code and step.code is not None:
        raise failure(plan, name, f"`{command}` ended with {code}: {printed}")


def failure(plan: Plan, step: str, reason: str) -> SmokeError:
    """What a build ends with whose image does not do what it must."""
    return SmokeError(f"{plan.name} {plan.version} fails its smoke test at {step!r}: {reason}.")
