"""Steps that are started ahead: each waits in its sandbox for the command that it becomes.

The engine takes 45 ms to start a process in a container; a process that is there already takes a command in 3 ms. For
the engine each is a separate step with its own end to inspect: the process itself becomes the command (exec).
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import docker

from workers.engine import engine_failures

# Standard input has first two lists of words that end in NUL, each behind its length: the environment and the command.
# The folder is entered anew: something may have been mounted there since. Nothing runs before one more NUL has come:
# else the engine could join the answer with what the command writes, and a step that is not understood would run, too.
_WAIT = """
word() { IFS= read -r -d "" word || exit 0; }
word
for ((left = word; left > 0; left--)); do word; export "$word"; done
word
set --
for ((left = word; left > 0; left--)); do word; set -- "$@" "$word"; done
cd /app || exit 1
printf .
word
unset -f word
unset word left PWD OLDPWD
exec "$@"
"""
# The answer of a process that has taken its command, as the engine frames it (Docker Engine API, "Stream format")
_TAKEN = b"\x01\0\0\0\0\0\0\x01."
_GO = b"\0"
_TAKE_SECONDS = 10.0


@dataclass(frozen=True)
class StartedStep:
    """A process in a sandbox, and the connection to its input and output."""

    id: str
    attached: Any = field(repr=False)  # the client's, around the stream
    stream: socket.socket = field(repr=False)
    early: bytes = field(default=b"", repr=False)  # its first output, which the stream no longer has

    def close(self) -> None:
        """Ends the connection. A reader that went away with its socket open makes later calls to the engine hang."""
        with suppress(OSError):
            self.attached.close()
            self.stream.close()

    def waits(self) -> bool:
        """Whether nothing has come from it: it has neither ended, nor lost its engine."""
        if self.early:
            return False
        self.stream.setblocking(False)
        try:
            self.stream.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def take(self, head: bytes) -> bool:
        """Hands it its command; False if it is gone: one that was just killed may still seem to wait."""
        try:
            self.stream.settimeout(_TAKE_SECONDS)
            self.stream.sendall(head)
            answer = b""
            while len(answer) < len(_TAKEN) and (piece := self.stream.recv(len(_TAKEN) - len(answer))):
                answer += piece
            if answer != _TAKEN:
                return False
            self.stream.sendall(_GO)
        except OSError:
            return False
        self.stream.setblocking(False)
        return True


@dataclass(frozen=True)
class StepStarter:
    """Starts the steps of one sandbox; some of them ahead. Raises NodeError."""

    client: docker.DockerClient
    container_id: str
    user: str
    _ahead: deque[StartedStep] = field(default_factory=deque, repr=False)

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> StartedStep:
        """A step with this command: one that was started ahead, if one still waits."""
        while self._ahead:
            step = self._ahead.popleft()
            if step.waits() and step.take(head_of(command, environment)):
                return step
            step.close()
        return self._start(command, environment)

    def start_ahead(self, count: int) -> None:
        """So many steps, which wait for their commands."""
        for _ in range(count):
            self._ahead.append(self._start(waiting_command(), {}))

    def close(self) -> None:
        """Ends the connections of those that still wait, and with them the steps themselves."""
        while self._ahead:
            self._ahead.popleft().close()

    def _start(self, command: Sequence[str], environment: Mapping[str, str]) -> StartedStep:
        with engine_failures("start a step"):
            step_id = self.client.api.exec_create(
                self.container_id,
                list(command),
                stdin=True,
                user=self.user,
                workdir="/app",
                environment=dict(environment),
            )["Id"]
            attached: Any = self.client.api.exec_start(step_id, socket=True)
        stream = getattr(attached, "_sock", attached)
        return StartedStep(step_id, attached, stream, _came_early(attached, stream))


def _came_early(attached: Any, stream: socket.socket) -> bytes:
    """What the client has read with the head of the engine's answer: on a busy machine, they come together."""
    if not hasattr(attached, "_response"):
        return b""
    stream.setblocking(False)
    with suppress(OSError):  # nothing is there yet
        return bytes(attached._response.raw._fp.fp.peek())
    return b""


def waiting_command() -> list[str]:
    """What waits for a command."""
    return ["bash", "-c", _WAIT]


def head_of(command: Sequence[str], environment: Mapping[str, str]) -> bytes:
    """What makes it become this command, in this environment."""
    variables = [f"{name}={value}" for name, value in environment.items()]
    words = [str(len(variables)), *variables, str(len(command)), *command]
    return "".join(f"{word}\0" for word in words).encode("utf-8", "surrogateescape")
