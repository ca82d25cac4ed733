"""What the local farm remembers between runs: ``farm.env``, which every process of the farm reads, and its secrets."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from buildfarm.errors import SetupError
from localfarm.waiting import wait_until

ENV_FILE = "farm.env"
SECRETS = "secrets"
LOCK_SECONDS = 900
NAMESPACE = "buildfarm:"  # of the farm that `up` starts, unless BUILDFARM_NAMESPACE says otherwise
DEFAULT_DOCKER_URL = "unix:///var/run/docker.sock"


@dataclass(frozen=True)
class LocalState:
    """Where the farm's parts are on this machine."""

    redis_password: str
    farm_key: str = ""
    redis_port: int = 6390
    registry_port: int = 5050
    docker_url: str = DEFAULT_DOCKER_URL
    builder: str = ""  # repository@digest in the farm's registry; empty until it was pushed
    signing: bool = False  # whether images are signed; a farm of an older version has no signer until the next `up`
    downloads_url: str = ""  # of the cache of packages; empty: the farm has none
    worker: bool = False  # whether the last `up` was asked for a build node

    @property
    def redis_url(self) -> str:
        return f"redis://:{self.redis_password}@{self.redis_address}/0"

    @property
    def redis_address(self) -> str:
        return f"127.0.0.1:{self.redis_port}"

    @property
    def registry_address(self) -> str:
        return f"127.0.0.1:{self.registry_port}"

    def variables(self) -> dict[str, str]:
        """What the farm's processes need in their environment."""
        return {
            "BUILDFARM_REDIS_URL": self.redis_url,
            "BUILDFARM_FARM_KEY": self.farm_key,
            "BUILDFARM_REDIS_PORT": str(self.redis_port),
            "BUILDFARM_REGISTRY_URL": f"http://{self.registry_address}",
            "BUILDFARM_REGISTRY_PORT": str(self.registry_port),
            "BUILDFARM_DOCKER_URL": self.docker_url,
            "BUILDFARM_BUILDER": self.builder,
            # For the default namespace alone: another farm on the same services has no signer.
            "BUILDFARM_SIGNING": NAMESPACE if self.signing else "",
            "BUILDFARM_DOWNLOADS_URL": self.downloads_url,
            "BUILDFARM_LOCAL_WORKER": str(int(self.worker)),
        }

    def encode(self) -> str:
        return "".join(f"{name}={value}\n" for name, value in self.variables().items())

    @classmethod
    def decode(cls, text: str) -> LocalState:
        """Raises KeyError or ValueError when the text is not what ``encode`` made."""
        values = dict(line.split("=", 1) for line in text.splitlines() if line)
        return cls(
            redis_password=urlsplit(values["BUILDFARM_REDIS_URL"]).password or "",
            farm_key=values.get("BUILDFARM_FARM_KEY", ""),
            redis_port=int(values["BUILDFARM_REDIS_PORT"]),
            registry_port=int(values["BUILDFARM_REGISTRY_PORT"]),
            docker_url=values["BUILDFARM_DOCKER_URL"],
            builder=values["BUILDFARM_BUILDER"],
            signing=bool(values.get("BUILDFARM_SIGNING")),
            downloads_url=values.get("BUILDFARM_DOWNLOADS_URL", ""),
            worker=values["BUILDFARM_LOCAL_WORKER"] == "1",
        )


def read_state(directory: Path) -> LocalState | None:
    """What was remembered; None on a machine where the farm never was up."""
    path = directory / ENV_FILE
    try:
        return LocalState.decode(path.read_text())
    except FileNotFoundError:
        return None
    except (KeyError, ValueError) as error:
        raise SetupError(f"{path} cannot be read.", advice="Delete it and run `buildfarm up` again.") from error


def write_state(directory: Path, state: LocalState) -> None:
    write_file(directory / ENV_FILE, state.encode(), mode=0o600)


def make_directory(directory: Path) -> None:
    """The state directory, closed to everyone else."""
    try:
        (directory / SECRETS).mkdir(parents=True, exist_ok=True)
        for path in (directory, directory / SECRETS):
            path.chmod(0o700)
    except OSError as error:
        raise SetupError(
            f"The state directory {directory} cannot be made: {error.strerror}.",
            advice="Name another in BUILDFARM_STATE_DIRECTORY.",
        ) from error


def secret_file(directory: Path, name: str) -> Path:
    """The file of a random secret, made at the first call."""
    path = directory / SECRETS / name
    if not path.exists():
        # Readable for all: it is mounted into a container whose user is not ours. On this side the
        # directory around it, which a mounted file leaves behind, keeps everyone else out.
        write_file(path, secrets.token_urlsafe(32), mode=0o444)
    return path


def write_file(path: Path, text: str, *, mode: int) -> None:
    """All or nothing: readers see the old text or the new one, also when we are killed in between."""
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.unlink(missing_ok=True)
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    half.chmod(mode)
    half.rename(path)


def forget(directory: Path) -> None:
    """Deletes what this package wrote, and nothing else that may lie there; the lock stays, its holder has it open."""
    for path in (*directory.glob(".*.[0-9]*"), *(directory / SECRETS).glob("*"), *directory.glob("*.log")):
        path.unlink()
    (directory / ENV_FILE).unlink(missing_ok=True)
    if (directory / SECRETS).is_dir():
        (directory / SECRETS).rmdir()


@contextmanager
def locked(directory: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Keeps two runs on the same state apart; the kernel opens the lock when its holder dies."""
    with (directory / "lock").open("w") as file:
        if not wait_until(lambda: _try_lock(file.fileno()), seconds):
            raise SetupError(
                f"Another `buildfarm up` or `buildfarm down` has been running for {seconds:.0f} s.",
                advice="Wait for it or end it, then try again.",
            )
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
