"""A database's container, run as a user of the image would run it."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import docker

from testkit.cluster.shell import run
from verify.images.conditions.databases import Database

PASSWORD = "a-password"
READY_SECONDS = 300.0  # on a machine with much else to do
GRACE_SECONDS = 10
HARDENED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none")
HEALTH = ("--health-interval=500ms", "--health-timeout=30s")
_INSIDE = "/run/secrets/password"


@cache
def engine() -> docker.DockerClient:
    """The engine itself: a hundredth of what the command line costs, for what is asked again and again."""
    return docker.from_env()


@dataclass(frozen=True)
class Server:
    """One container. ``password`` is what its clients use."""

    database: Database
    name: str
    password: str = PASSWORD

    def ask(self, statement: str, password: str | None = None) -> str:
        """What a client prints, its errors too."""
        secret = self.password if password is None else password
        environment = ["--env", f"{self.database.secret}={secret}"] if secret else []
        return self.execute(*self.database.command(statement), options=environment)

    def answers(self) -> bool:
        """A client gets an answer with the password."""
        return self.ask(self.database.ping).strip() == "PONG"

    def refuses(self, *others: str) -> bool:
        """Neither no password nor a wrong one is let in."""
        tried = [self.ask(self.database.ping, password) for password in ("", "not-this-one", *others)]
        return not any(line.strip() == "PONG" for answer in tried for line in answer.splitlines())

    def execute(self, *command: str, options: list[str] | None = None) -> str:
        """The output of a command in the container, standard error too."""
        done = subprocess.run(
            ["docker", "exec", *(options or []), self.name, *command],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=READY_SECONDS,
        )  # fmt: skip
        return done.stdout.decode(errors="replace").strip()

    def beside(self, command: str, *options: str) -> str:
        """The output of a client in another container of the image; {host} in the command is the server."""
        told = engine().api.inspect_container(self.name)
        program, *words = command.format(host=told["NetworkSettings"]["IPAddress"]).split()
        client = ("--rm", f"--env={self.database.secret}={self.password}", *options, f"--entrypoint={program}")
        return run("docker", "run", *client, told["Config"]["Image"], *words, check=False)

    def state(self) -> tuple[str, int, str]:
        """Its status, its exit code and its health."""
        told = engine().api.inspect_container(self.name)["State"]
        return told["Status"], told["ExitCode"], told.get("Health", {}).get("Status", "")

    def ready(self) -> bool:
        """Waits until it is healthy; False if it ends before."""
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            status, _, health = self.state()
            if status == "exited" or health == "healthy":
                return status != "exited"
            time.sleep(0.1)
        return False

    def start(self) -> None:
        """Starts it again."""
        run("docker", "start", self.name)

    def kill(self) -> None:
        """kill -9 to all its processes."""
        run("docker", "kill", self.name, check=False)

    def interrupt(self, seconds: float) -> None:
        """Starts it, and kills it that many seconds later, or as soon as it has a process."""
        with subprocess.Popen(["docker", "start", self.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            time.sleep(seconds)
            kill = ["docker", "kill", self.name]
            while subprocess.run(kill, capture_output=True, check=False).returncode and self.state()[0] == "created":
                pass

    def stop(self) -> tuple[int, float]:
        """Its exit code after the stop signal, and how many seconds it took."""
        started = time.monotonic()
        run("docker", "stop", f"--time={GRACE_SECONDS}", self.name)
        return self.state()[1], time.monotonic() - started

    def log(self) -> str:
        """What it wrote, standard error too."""
        done = subprocess.run(
            ["docker", "logs", self.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True
        )
        return done.stdout.decode(errors="replace")

    def said(self, word: str = "refused: ") -> str:
        """The first line of the log with this word; empty if there is none."""
        return next((line for line in self.log().splitlines() if word in line), "")


def health_of(server: Server) -> list[str]:
    """The image's health check."""
    told = json.loads(run("docker", "inspect", "--format={{json .Config.Healthcheck.Test}}", server.name))
    return [str(word) for word in told[1:]]


@dataclass(frozen=True)
class Images:
    """Where the images are: ``prefix`` + name:version, on the engine."""

    prefix: str

    def name(self, database: Database, version: str = "") -> str:
        """The image of a version, by default the database's own."""
        return f"{self.prefix}{database.image or database.name}:{version or database.version}"

    def has(self, name: str) -> bool:
        """Whether the image is there. A registry's is fetched, because the engine may have an older one."""
        if {".", ":"} & set(self.prefix.partition("/")[0]):
            run("docker", "pull", "--quiet", name, check=False)
        return bool(run("docker", "image", "ls", "--quiet", name))

    @property
    def tools(self) -> str:
        """An image that has more programs than its database needs."""
        return f"{self.prefix}postgresql:17"

    def change(self, volume: str, script: str) -> None:
        """Runs a script as root over the volume, which is /data: busybox has what an administrator needs."""
        options = ("--rm", "--user=0", "--network=none", f"--volume={volume}:/data:nocopy", "--entrypoint=sh")
        run("docker", "run", *options, self.tools, "-ec", script)

    @contextmanager
    def volume(self, *options: str) -> Iterator[str]:
        """A volume for the length of the block."""
        name = f"verify-{uuid.uuid4().hex[:8]}"
        run("docker", "volume", "create", *options, name)
        try:
            yield name
        finally:
            run("docker", "volume", "rm", "--force", name, check=False)

    @contextmanager
    def server(
        self,
        database: Database,
        *options: str,
        command: tuple[str, ...] = (),
        secret: bytes = PASSWORD.encode(),
        password: str = PASSWORD,
        version: str = "",
        started: bool = True,
    ) -> Iterator[Server]:
        """A container for the length of the block; ``secret`` is the content of the password's file."""
        with ExitStack() as undo:
            folder = Path(undo.enter_context(tempfile.TemporaryDirectory()))
            folder.chmod(0o755)
            (folder / "password").write_bytes(secret)
            name = f"verify-{uuid.uuid4().hex[:8]}"
            undo.callback(run, "docker", "rm", "--force", "--volumes", name, check=False)
            run(
                "docker", *(("run", "--detach") if started else ("create",)), f"--name={name}", *HEALTH,
                f"--volume={folder}/password:{_INSIDE}:ro", f"--env={database.password_file}={_INSIDE}",
                *options, self.name(database, version), *command,
            )  # fmt: skip
            yield Server(database, name, password)
