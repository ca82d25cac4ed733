"""Steps that are started ahead: each waits in its sandbox for the command that it becomes.

The engine takes 45 ms to start a process in a container; a process that is there already takes a command in 3 ms. For
the engine each is a separate step with its own end to inspect: the process itself becomes the command (exec). Before
that, it can run programs of the farm's own as its children, which are *parts* of the step.
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

# Standard input has words that end in NUL: the mark of a part's end and the length of the part's input, both empty for
# a command that it becomes; then the environment and the command, each behind its length. The folder is entered anew:
# something may have been mounted there since. Nothing runs before one more NUL has come: else the engine could join the
# answer with what the command writes, and a step that is not understood would run, too.
# A part's end is NUL, mark and exit code on both of its streams, behind all that it wrote. One that succeeds takes its
# input to the end, so that what follows is the next command; after one that fails with input left, nothing follows. The
# shell has nothing to say of a program that is killed. If it cannot go on after a part, it ends with 70.
_WAIT = r"""
exec 3>&2 2>/dev/null
word() { IFS= read -r -d "" buildfarm_word || exit ${buildfarm_end:-0}; }
words() {
  word
  buildfarm_words=()
  for ((buildfarm_left = buildfarm_word; buildfarm_left > 0; buildfarm_left--)); do
    word
    buildfarm_words+=("$buildfarm_word")
  done
}
run() {
  exec 2>&3 3>&-
  unset PWD OLDPWD
  if [ ${#buildfarm_variables[@]} -gt 0 ]; then export -- "${buildfarm_variables[@]}"; fi
  exec "$@"
}
while true; do
  word
  buildfarm_mark=$buildfarm_word
  word
  buildfarm_bytes=$buildfarm_word
  words
  buildfarm_variables=("${buildfarm_words[@]}")
  words
  set -- "${buildfarm_words[@]}"
  cd /app || exit 1
  if [ -z "$buildfarm_mark" ]; then
    printf .
    word
    run "$@"
    exit 1
  fi
  printf ,
  word
  buildfarm_end=70
  if [ "$buildfarm_bytes" = 0 ]; then
    (run "$@") </dev/null
    buildfarm_code=$?
  else
    head -c "$buildfarm_bytes" | { (run "$@") && cat >/dev/null; }
    buildfarm_codes=("${PIPESTATUS[@]}")
    buildfarm_code=${buildfarm_codes[1]}
    if [ "$buildfarm_code" = 0 ] && [ "${buildfarm_codes[0]}" != 0 ]; then exit 70; fi
  fi
  printf '\0%s%03d' "$buildfarm_mark" "$buildfarm_code"
  printf '\0%s%03d' "$buildfarm_mark" "$buildfarm_code" >&3
  if [ "$buildfarm_bytes" != 0 ] && [ "$buildfarm_code" != 0 ]; then exit 70; fi
done
"""
# The answers of a process that has taken its command, or a part, as the engine frames them (Docker Engine API, "Stream
# format")
_TAKEN, _TAKEN_PART = (b"\x01\0\0\0\0\0\0\x01" + answer for answer in (b".", b","))
_GO = b"\0"
CONFUSED = 70  # how a process ends that cannot go on after a part
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

    def take(self, head: bytes, taken: bytes = _TAKEN) -> bool:
        """Hands it its command; False if it is gone, which may still seem to wait, or answers otherwise."""
        try:
            self.stream.settimeout(_TAKE_SECONDS)
            self.stream.sendall(head)
            answer = b""
            while len(answer) < len(taken) and (piece := self.stream.recv(len(taken) - len(answer))):
                answer += piece
            if answer != taken:
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

    def start_part(
        self, command: Sequence[str], environment: Mapping[str, str], mark: str, stdin_bytes: int
    ) -> StartedStep | None:
        """A process that runs this command as a part and then waits again; None if it does not take it.

        The part ends with ``mark``, and takes so many bytes of input.
        """
        head = head_of(command, environment, mark, stdin_bytes)
        if not self._ahead:
            self.start_ahead(1)
        while self._ahead:
            step = self._ahead.popleft()
            if step.waits() and step.take(head, _TAKEN_PART):
                return step
            step.close()
        return None

    def wait_again(self, step: StartedStep) -> None:
        """The step of a part that has ended takes the next command."""
        self._ahead.appendleft(step)

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


def head_of(command: Sequence[str], environment: Mapping[str, str], mark: str = "", stdin_bytes: int = 0) -> bytes:
    """What makes it become this command, in this environment; with a ``mark``, run it as a part."""
    variables = [f"{name}={value}" for name, value in environment.items()]
    part = [mark, str(stdin_bytes) if mark else ""]
    words = [*part, str(len(variables)), *variables, str(len(command)), *command]
    return "".join(f"{word}\0" for word in words).encode("utf-8", "surrogateescape")
