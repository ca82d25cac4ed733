"""A Dockerfile built by this node's engine: in the network of the sandboxes, with their memory, and from nothing.

What it builds runs with the engine's rights as far as the engine's builder gives them: root in a container with the
engine's own capabilities and system calls. So it is for operators' recipes, and no tenant can ask for it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import docker
from docker.errors import ImageNotFound
from requests import Response
from requests.exceptions import RequestException

from buildfarm.errors import BuildfarmError, DeadlineError, NodeError, RecipeError
from buildfarm.oci.layer import LayerStream
from buildfarm.oci.tree import Entry, header_entries
from buildfarm.recipes.parts import Dockerfile
from workers.attempt.signals import Check, Log
from workers.build_folder import BuildFolder
from workers.engine import engine_failures, long_call
from workers.image_builds.last_line import LastLine
from workers.upkeep.step_images import remove_step

_TICK_SECONDS = 0.25
_CPU_PERIOD_MICROSECONDS = 100_000
_KILLED = 137
_END_SECONDS = 10.0
_COLOUR = re.compile(r"\x1b\[\d*m")  # the engine writes errors of steps in red
_OWN_WORDS = ("Step ", " ---> ", "Removing intermediate container")  # the engine's, between what steps write
_LAST_WORDS = "Successfully tagged "
_STEP_IMAGE = re.compile(r"^ ---> ([0-9a-f]{12})$", re.MULTILINE)


@dataclass(frozen=True)
class EngineLimits:
    """What the steps of a Dockerfile may use."""

    network: str
    silence_seconds: float
    memory_bytes: int | None = None  # none: as much as there is
    cpus: float | None = None  # likewise
    ca_bundle: Path | None = None  # trusted while the Dockerfile fetches, where it says where

    def parameters(self) -> dict[str, Any]:
        """As parameters of the engine's builder."""
        found: dict[str, Any] = {"networkmode": self.network}
        if self.memory_bytes is not None:
            found |= {"memory": self.memory_bytes, "memswap": self.memory_bytes}
        if self.cpus is not None:
            period = _CPU_PERIOD_MICROSECONDS
            found |= {"cpuperiod": period, "cpuquota": int(self.cpus * period)}
        return found


@dataclass(frozen=True)
class DockerfileBuild:
    """One image to be built: of the files in ``context``, on ``base``, under the name ``image`` on the engine."""

    client: docker.DockerClient
    context: BuildFolder
    dockerfile: Dockerfile
    base: str
    image: str
    limits: EngineLimits
    log: Log
    check: Check
    proxies: Mapping[str, str] = field(
        default_factory=dict, repr=False
    )  # their steps have them, and the image does not
    certificates: str = ""  # PEM, trusted beside the bundle of the limits

    @contextmanager
    def held(self, note: Callable[[str], object]) -> Iterator[None]:
        """Built anew, and on the engine for the length of the block; afterwards nothing of its making is left.

        ``note`` receives the image of each step. Raises what `run` does.
        """
        steps: list[str] = []

        def made(step: str) -> None:
            note(step)
            steps.append(step)

        try:
            self.run(cache=False, made=made)
            yield
        finally:
            _remove(self.client, self.image, steps)

    def run(self, *, cache: bool, made: Callable[[str], None] = lambda step: None) -> None:
        """Builds it; without ``cache`` nothing of an earlier build is used. ``made`` receives the image of each step.

        Raises RecipeError with a failed step's last words, DeadlineError after a long silence, NodeError, and what
        ``check`` raises; then the engine has ended the build.
        """
        if not self.context.has_file(self.dockerfile.file):
            raise RecipeError(f"There is no {self.dockerfile.file} among the recipe's files.")
        heard = _Heard(LastLine(self.log), made)
        with (
            engine_failures("build the image"),
            packed(self.context, self.dockerfile, self.limits.ca_bundle, self.certificates) as pieces,
            long_call(
                self.client,
                "POST",
                "/build",
                params=self._parameters(cache=cache),
                data=iter(pieces),
                headers={"Content-Type": "application/x-tar"},
                silence_seconds=self.limits.silence_seconds + _END_SECONDS,
            ) as response,
        ):
            if not response.ok:
                raise _refusal(response)
            for message in _messages(response, self.check, self.limits.silence_seconds):
                heard.take(message)
        if not heard.done:
            # An engine that is killed ends its output cleanly.
            raise NodeError("The node's Docker engine did not report how the build ended.")

    def _parameters(self, *, cache: bool) -> dict[str, Any]:
        """As Docker Engine API's "Build an image" has them."""
        return {
            "t": self.image,
            "dockerfile": self.dockerfile.file,
            "target": self.dockerfile.target,
            "buildargs": json.dumps({**self.proxies, **self.dockerfile.arguments, "BASE": self.base}),
            "nocache": not cache,
            "rm": True,
            "forcerm": True,
            **self.limits.parameters(),
        }


def packed(context: BuildFolder, dockerfile: Dockerfile, ca_bundle: Path | None, certificates: str = "") -> LayerStream:
    """The context as a tar stream: the same bytes from every checkout. Links in it stay links; none is followed."""
    trusted = []
    if dockerfile.trusts is not None:
        # Not written into the context: a link in it would lead to a file of the node.
        bundle = ca_bundle.read_bytes() if ca_bundle else b""
        more = b"\n" + certificates.encode() if certificates else b""
        trusted.append(Entry(dockerfile.trusts, bundle + more))
    archive = context.archive(context.scan().found, owner=0, top=".", plain_modes=True)
    return LayerStream(archive.argv, prefix=header_entries(trusted), names=archive.names, compression="none")


@dataclass
class _Heard:
    """What the engine says of a build."""

    tail: LastLine
    made: Callable[[str], None]
    done: bool = field(default=False, init=False)

    def take(self, message: Mapping[str, Any]) -> None:
        """One message. Raises RecipeError if it is that a step failed."""
        if "error" in message:
            raise self._failure(message)
        text = _COLOUR.sub("", str(message.get("stream", "")))
        if text.startswith(_OWN_WORDS):
            self.tail.log(text.encode())
        else:
            self.tail.take(text.encode())
        self.done = text.startswith(_LAST_WORDS)
        for step in _STEP_IMAGE.findall(text):
            self.made(step)

    def _failure(self, message: Mapping[str, Any]) -> RecipeError:
        reason = str(message["error"]).strip()
        code = (message.get("errorDetail") or {}).get("code")
        said = self.tail.last
        advice = "A step that needs more than BUILDFARM_MEMORY_BYTES ends like this." if code == _KILLED else ""
        return RecipeError(f"{reason[:500]}: {said}" if said else reason[:500], advice=advice)


def _messages(response: Response, check: Check, silence_seconds: float) -> Iterator[dict[str, Any]]:
    """The engine's messages as they come. Leaving it early ends the build."""
    lines: SimpleQueue[bytes | Exception | None] = SimpleQueue()
    reader = Thread(target=_read, args=(response, lines), name="dockerfile", daemon=True)
    reader.start()
    heard_at = time.monotonic()
    try:
        while True:
            check()
            try:
                line = lines.get(timeout=_TICK_SECONDS)
            except Empty:
                if time.monotonic() - heard_at > silence_seconds:
                    raise DeadlineError(
                        f"The build wrote nothing for {silence_seconds:.0f} s.",
                        advice="Let its steps print what they do.",
                    ) from None
                continue
            heard_at = time.monotonic()
            if line is None:
                return
            if isinstance(line, Exception):
                raise NodeError(f"The node's Docker engine became unreachable during the build: {line}") from line
            yield json.loads(line)
    finally:
        # A reader that waits is not woken by a close. The engine takes the end of its connection for a cancel.
        with suppress(OSError, RuntimeError, ValueError):
            response.raw.shutdown()
        response.close()
        reader.join(_END_SECONDS)


def _read(response: Response, lines: SimpleQueue[bytes | Exception | None]) -> None:
    try:
        for line in response.iter_lines(chunk_size=None):
            if line:
                lines.put(line)
    except (RequestException, OSError, ValueError, AttributeError) as error:  # the last two: it was closed meanwhile
        lines.put(error)
    else:
        lines.put(None)


def _refusal(response: Response) -> BuildfarmError:
    try:
        reason = str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        reason = f"it answered {response.status_code}"
    if response.status_code < 500:
        return RecipeError(f"The Dockerfile cannot be built: {reason[:500]}.")
    return NodeError(f"The node's Docker engine could not build the image: {reason[:500]}")


def _remove(client: docker.DockerClient, name: str, steps: list[str]) -> None:
    """What a build made, from its end to its beginning; what others use by now stays. Raises NodeError."""
    with engine_failures("remove the image"):
        with suppress(ImageNotFound):
            client.api.remove_image(name, force=True)
        deadline = time.monotonic() + _END_SECONDS
        for step in reversed(steps):
            while not remove_step(client, step) and time.monotonic() < deadline:
                time.sleep(_TICK_SECONDS)
