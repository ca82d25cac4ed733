"""The sandbox: a container of the builder image in which the customer's code runs, and nothing else does.

Steps run by ``exec`` in one container per build. A step's verdict comes from inspecting it, never from the end of its
output: an engine that is killed ends the output cleanly.
"""

from __future__ import annotations

import secrets
import select
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import docker
from docker.errors import NotFound

from buildfarm.errors import DeadlineError, NodeError, OutOfMemoryError
from workers.attempt.signals import Check, Log, drop, go_on
from workers.engine import engine_failures
from workers.ownership import LABEL_ATTEMPT, LABEL_NODE
from workers.sandbox.output import Output, in_order
from workers.sandbox.spec import SandboxSpec
from workers.sandbox.started import CONFUSED, StartedStep, StepStarter
from workers.sandbox.workspace import Workspace

_TICK_SECONDS = 0.25
_RECEIVE_BYTES = 64 * 1024
_ASK_SECONDS = 1.0
_END_SECONDS = 30.0


def leave(image: str) -> None:
    """Brings back nothing."""


class WrongLengthError(NodeError):
    """The input of a part was not as long as it was said to be."""


@dataclass(frozen=True)
class Ended:
    """How a step ended: its exit code, and its standard output where it was requested."""

    code: int
    stdout: bytes = b""
    cut: bool = False  # there was more output than CAPTURE_BYTES_MAX


@dataclass(frozen=True)
class Sandboxes:
    """Makes the sandboxes of one node."""

    client: docker.DockerClient
    spec: SandboxSpec
    silence_seconds: float
    restore: Callable[[str], None] = leave  # brings back an image, and the network, that the engine no longer has

    def sized(self, memory_bytes: int, cpus: float) -> Sandboxes:
        """The same, with so much memory and so many processors for each."""
        return replace(self, spec=replace(self.spec, memory_bytes=memory_bytes, cpus=cpus))

    @contextmanager
    def make(
        self,
        image: str,
        name: str,
        workspace: Workspace,
        environment: Mapping[str, str],
        *,
        steps_ahead: int = 0,
        network: str = "",
    ) -> Iterator[Sandbox]:
        """A running sandbox for the length of the block; after it there is no container of this name. NodeError.

        Its steps write to no log until it is bound to one (`Sandbox.bound`). ``steps_ahead`` of them are started now;
        the image must have bash for that. ``network`` is a mode that joins a pause container; such a sandbox cannot be
        cut off.
        """
        options = self.spec.options(name, workspace, environment, network)
        try:
            container_id = self._started(image, options)
        except NodeError as error:
            if not isinstance(error.__cause__, NotFound):
                raise
            # Someone removed what it needs, such as by `docker system prune`.
            self.restore(image)
            container_id = self._started(image, options)
        try:
            steps = StepStarter(self.client, container_id, f"{workspace.owner}:{workspace.owner}")
            with closing(steps):
                steps.start_ahead(steps_ahead)
                yield Sandbox(steps, workspace.owner, self.silence_seconds, network or self.spec.network)
        finally:
            remove_container(self.client, container_id, until_gone=bool(network))

    def _started(self, image: str, options: Mapping[str, Any]) -> str:
        with engine_failures("make a sandbox"):
            container_id = str(self.client.containers.create(image, **options).id)
        try:
            with engine_failures("start a sandbox"):
                self.client.api.start(container_id)
        except BaseException:
            remove_container(self.client, container_id)
            raise
        return container_id


@dataclass(frozen=True)
class Sandbox:
    """One running container. Output of its steps goes to ``log``, and what ``check`` raises ends the current one."""

    steps: StepStarter
    owner: int
    silence_seconds: float
    network: str
    environment: Mapping[str, str] = field(default_factory=dict)  # of its steps, beside what all sandboxes have
    log: Log = drop
    check: Check = go_on

    @property
    def client(self) -> docker.DockerClient:
        """The engine that it runs on."""
        return self.steps.client

    @property
    def container_id(self) -> str:
        """The engine's name of it."""
        return self.steps.container_id

    def bound(self, log: Log, check: Check) -> Sandbox:
        """The same sandbox for one attempt, whose log and check these are."""
        return replace(self, log=log, check=check)

    def with_variables(self, variables: Mapping[str, str]) -> Sandbox:
        """The same sandbox with these too in the environment of its steps."""
        return replace(self, environment={**self.environment, **variables})

    def runs(self) -> bool:
        """Whether it is there and could run a step."""
        try:
            with engine_failures("inspect a sandbox"):
                return bool(self.client.api.inspect_container(self.container_id)["State"]["Running"])
        except NodeError:
            return False

    def run(self, command: Sequence[str], *, stdin: Iterable[bytes] = (), capture: bool = False) -> Ended:
        """Runs a command to its end. Its output goes to the log; with ``capture`` only its error output does.

        The check is called several times a second. Raises what it raises, DeadlineError if the command is silent for
        too long, OutOfMemoryError if it reached its memory limit, and NodeError.
        """
        step = self.steps.start(command if capture else in_order(command), self.environment)
        output = Output(self.log, capture)
        try:
            self._pump(step, output, iter(stdin))
        finally:
            step.close()
        return self._ended(self._verdict(step.id), output)

    def run_part(
        self, command: Sequence[str], *, stdin: Iterable[bytes] = (), stdin_bytes: int = 0, capture: bool = False
    ) -> Ended:
        """Runs a program of the farm's own in the process that then takes the next command.

        That costs one start less than `run`, which is the same otherwise. The program must leave nothing that runs and
        writes; ``stdin`` has so many bytes. Its verdict is a mark behind its output, which an engine that is killed
        does not send, and neither does a part that is killed with its process: then the step is inspected. Raises
        WrongLengthError, and what `run` does.
        """
        mark = secrets.token_hex(8)
        step = self.steps.start_part(command if capture else in_order(command), self.environment, mark, stdin_bytes)
        if step is None:
            return self.run(command, stdin=stdin, capture=capture)
        output = Output(self.log, capture, mark)
        try:
            sent = self._pump(step, output, _exactly(stdin_bytes, stdin))
            output.end()
        except BaseException:
            step.close()
            raise
        if output.code is not None and (output.code == 0 or not stdin_bytes):
            self.steps.wait_again(step)
        else:
            step.close()
        code = self._verdict(step.id) if output.code is None else output.code
        ended = self._ended(code, output)
        if (output.code is None and code in (0, CONFUSED)) or (code == 0 and not sent):
            raise NodeError("The node's Docker engine lost a part of a step.")
        return ended

    def _ended(self, code: int, output: Output) -> Ended:
        if code != 0 and self._out_of_memory():
            raise OutOfMemoryError(
                "The build needed more memory than its limit.", advice="Let it do less at once, or ask for more memory."
            )
        return Ended(code, bytes(output.captured), output.cut)

    def cut_off(self) -> None:
        """From now on it has no network. Raises NodeError, also for one that joined a pause container."""
        with engine_failures("cut a sandbox off"):
            self.client.api.disconnect_container_from_network(self.container_id, self.network, force=True)

    def kill(self) -> None:
        """Ends every process of the sandbox; when it returns, there is none. Raises NodeError."""
        deadline = time.monotonic() + _END_SECONDS
        with engine_failures("end a sandbox"), suppress(NotFound):  # one that was removed has ended
            if self.client.api.inspect_container(self.container_id)["State"]["Running"]:
                self.client.api.kill(self.container_id, signal="KILL")
            while self.client.api.inspect_container(self.container_id)["State"]["Running"]:
                if time.monotonic() > deadline:
                    raise NodeError("A sandbox was killed and did not end.")
                time.sleep(0.02)

    def _pump(self, step: StartedStep, output: Output, stdin: Iterator[bytes]) -> bool:
        """Carries bytes both ways until the step closes its output, or has ended and left others who hold it open.

        Of a part until it has ended. Returns whether all input was sent.
        """
        waiting: memoryview | None = memoryview(b"")
        heard_at = asked_at = time.monotonic()
        ended = False
        stream = step.stream
        stream.setblocking(False)
        output.feed(step.early)
        while True:
            if waiting is not None and not waiting:
                piece = next(stdin, None)
                waiting = None if piece is None else memoryview(piece)
                if waiting is None and not output.is_of_part:
                    stream.shutdown(socket.SHUT_WR)
                heard_at = time.monotonic()
            readable, writable, _ = select.select([stream], [stream] if waiting is not None else [], [], _TICK_SECONDS)
            self.check()
            try:
                if writable and waiting is not None:
                    waiting = _unsent(stream, waiting)
                if readable:
                    piece = stream.recv(_RECEIVE_BYTES)
                    if not piece:
                        return waiting is None
                    output.feed(piece)
                    heard_at = time.monotonic()
                    if output.code is not None:
                        return waiting is None or (not waiting and next(stdin, None) is None)
            except BlockingIOError:
                continue
            except OSError:
                return waiting is None  # the verdict reports whether the step or the engine went away
            now = time.monotonic()
            if now - heard_at > self.silence_seconds:
                raise DeadlineError(
                    f"The build wrote nothing for {self.silence_seconds:.0f} s.",
                    advice="Check whether it waits for input, or let it print what it does.",
                )
            if now - max(heard_at, asked_at) > _ASK_SECONDS:
                asked_at = now
                if ended:
                    return waiting is None
                # Allow one more interval for trailing output.
                ended = not self._step(step.id)["Running"]

    def _step(self, exec_id: str) -> dict[str, Any]:
        with engine_failures("report how a step ended"):
            found: dict[str, Any] = self.client.api.exec_inspect(exec_id)
        return found

    def _verdict(self, exec_id: str) -> int:
        deadline = time.monotonic() + self.silence_seconds
        while True:
            state = self._step(exec_id)
            if not state["Running"]:
                if state["ExitCode"] is None:
                    raise NodeError("The node's Docker engine lost a step of the build.")
                return int(state["ExitCode"])
            if time.monotonic() > deadline:
                raise DeadlineError(
                    f"A step closed its output and did not end for {self.silence_seconds:.0f} s.",
                    advice="Let it keep its output open until it ends.",
                )
            self.check()
            time.sleep(0.02)

    def _out_of_memory(self) -> bool:
        """Whether the kernel ended a process of this sandbox for its memory."""
        with engine_failures("inspect a sandbox"):
            state = self.client.api.inspect_container(self.container_id)["State"]
        if not state["Running"]:
            if not state["OOMKilled"]:
                raise NodeError(f"The sandbox ended during the build (code {state['ExitCode']}).")
            return True
        with engine_failures("read a sandbox's counters"):
            # cgroup v1 and v2; both say "oom_kill N"
            files = "/sys/fs/cgroup/memory/memory.oom_control /sys/fs/cgroup/memory.events"
            exec_id = self.client.api.exec_create(
                self.container_id, ["sh", "-c", f"cat {files} 2>/dev/null"], user=f"{self.owner}:{self.owner}"
            )["Id"]
            counters = self.client.api.exec_start(exec_id).decode()
        return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in counters.splitlines())


def _exactly(length: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces, which are so long: what is left over would be read as the next command. Raises WrongLengthError."""
    left = length
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            break
        yield piece
    if left:
        raise WrongLengthError(f"The input of a part of a step does not have the {length:,} bytes that it should have.")


def _unsent(stream: socket.socket, waiting: memoryview) -> memoryview | None:
    """What is left to send; None if the step takes no more, as one that has ended: its output is still to be read."""
    try:
        return waiting[stream.send(waiting) :]
    except BlockingIOError:
        return waiting
    except OSError:
        return None


def remove_container(client: docker.DockerClient, container_id: str, *, until_gone: bool = False) -> None:
    """Ends and removes a container; one that is gone already is as good. Raises NodeError.

    So is one that something else is removing, unless it must be ``until_gone``.
    """
    with engine_failures("remove a sandbox"):
        try:
            client.api.remove_container(container_id, force=True, v=True)
        except docker.errors.APIError as error:
            if error.status_code == 409 and until_gone:
                raise NodeError("Something else is removing a sandbox.") from error
            if error.status_code not in (404, 409):
                raise


def containers_of(client: docker.DockerClient, node_id: str, *, only_running: bool = False) -> dict[str, str]:
    """Sandboxes of this node that are there now: container id to the attempt it belongs to."""
    with engine_failures("list sandboxes"):
        found = client.api.containers(all=not only_running, filters={"label": f"{LABEL_NODE}={node_id}"})
    return {item["Id"]: item["Labels"].get(LABEL_ATTEMPT, "") for item in found}
