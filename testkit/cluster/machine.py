"""One build node: namespaces, a disk, an engine that starts again when it dies, and a worker that does not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from testkit.cluster.engines import OWN, Engine
from testkit.cluster.network import PREFIX, connect, namespace_of
from testkit.cluster.shell import COMMAND_SECONDS, children, descendants, mentioning, run, send, wait

DISK_BYTES = 8 * 1024**3  # sparse

# The engine is not the first process of its namespace: it may die alone, and what watches over it starts it again.
_INIT = """
for place in $1; do mount -t tmpfs node "$place"; done
[ -z "$PROGRAMS" ] || mount -t overlay -o "lowerdir=$PROGRAMS/usr:/usr" programs /usr
for file in $FILES; do mount --bind "$FOLDER/$(basename "$file")" "$file"; done
cat /proc/sys/kernel/random/uuid >/run/boot-id  # another one with each boot, as on any machine
mount --bind /run/boot-id /proc/sys/kernel/random/boot_id
mkdir -p /run/proc && mount -t proc proc /run/proc  # nothing over it: else user namespaces may have no proc
mount --make-rshared /  # as it is on any machine: what one container mounts may be meant for another
shift
exec docker-init -- sh -c 'while :; do rm -f "$0"; dockerd "$@"; sleep 0.3; done' "$@"
"""


class Machine:
    """A node named ``n<number>``, below ``root``; ``variables`` is what its worker finds in its environment."""

    def __init__(self, number: int, root: Path, variables: Mapping[str, str], engine: Engine = OWN) -> None:
        self.engine = engine
        self.private = ["/run"]  # empty folders instead of this machine's, from the next boot on
        self.engine_options = list(engine.options)  # besides those that every node's engine has, likewise
        self.id = f"n{number}"
        self.number = number
        self.root = root / self.id
        self.worker: subprocess.Popen[bytes] | None = None
        self._plug: subprocess.Popen[bytes] | None = None
        self._started: list[subprocess.Popen[bytes]] = []
        self._variables = {
            **variables,
            **engine.variables,
            "BUILDFARM_NODE_ID": self.id,
            "BUILDFARM_DOCKER_URL": self.docker_url,
            "BUILDFARM_WORKSPACE_DIRECTORY": f"{self.disk}/workspaces",
            "BUILDFARM_CACHE_DIRECTORY": f"{self.disk}/caches",
            "BUILDFARM_LOG_FORMAT": "json",
        }

    @property
    def docker_url(self) -> str:
        """Its engine."""
        return f"unix://{self.root}/run/docker.sock"

    @property
    def disk(self) -> Path:
        """Where its engine, its workspaces and its caches are: its own file system."""
        return self.root / "disk"

    @property
    def log(self) -> str:
        """What its worker wrote."""
        path = self.root / "worker.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def install(self, golden: Path | None = None) -> None:
        """Its disk, empty or a copy of a node's that was ready, and its network."""
        self.disk.mkdir(parents=True)
        for name, lines in self.engine.files.items():
            (self.root / Path(name).name).write_text(Path(name).read_text() + lines)
        image = self.root / "disk.ext4"
        if golden is None:
            with image.open("wb") as file:
                file.truncate(DISK_BYTES)
            run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard,lazy_itable_init=1", image)
        else:
            run("cp", "--sparse=always", golden, image)
        run("mount", "-o", "loop,noatime", image, self.disk)
        connect(self.number)

    def boot(self) -> None:
        """Starts its engine, and returns when it answers."""
        for folder in ("exec", "run"):
            shutil.rmtree(self.root / folder, ignore_errors=True)
            (self.root / folder).mkdir()
        command = [
            # not `ip netns exec`, which hides the cgroup mounts
            *("nsenter", f"--net=/run/netns/{namespace_of(self.number)}"),
            *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("sh", "-c", _INIT, "sh", " ".join(self.private), f"{self.root}/run/dockerd.pid"),
            f"--data-root={self.disk}/docker",
            f"--exec-root={self.root}/exec",
            f"--pidfile={self.root}/run/dockerd.pid",
            f"--host={self.docker_url}",
            f"--cgroup-parent=/{PREFIX}{self.id}",
            f"--bip=172.30.{self.number}.1/24",
            *(f"--insecure-registry={subnet}" for subnet in ("10.173.0.0/16", "172.16.0.0/12", "192.168.0.0/16")),
            "--live-restore",
            "--log-level=warn",
            *self.engine_options,
        ]
        with (self.root / "dockerd.log").open("ab") as output:
            self._plug = subprocess.Popen(
                command,
                env={
                    **os.environ,
                    "PROGRAMS": str(self.engine.programs() or ""),
                    "FILES": " ".join(self.engine.files),
                    "FOLDER": str(self.root),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait(self.engine_answers, lambda: f"{self.id}: no engine: {(self.root / 'dockerd.log').read_text()[-1500:]}")

    @property
    def is_on(self) -> bool:
        """Whether it was booted, and not powered off since."""
        return self._plug is not None

    def engine_answers(self) -> bool:
        """Whether its engine does."""
        ask = ["docker", "--host", self.docker_url, "version"]
        return subprocess.run(ask, capture_output=True, check=False, timeout=60).returncode == 0

    def docker(self, *arguments: str, seconds: float = COMMAND_SECONDS) -> str:
        """What its engine's command line says."""
        return run("docker", "--host", self.docker_url, *arguments, seconds=seconds)

    def start_worker(self, *, program: Sequence[str] = ("-m", "workers"), **variables: str) -> None:
        """Starts its worker; the farm sees by itself when it takes builds."""
        self.worker = self.start("worker", sys.executable, *program, **{**self._variables, **variables})

    def start(self, name: str, *command: str | Path, **variables: str) -> subprocess.Popen[bytes]:
        """Starts a program on it, with these variables besides our own; what it writes is in ``<name>.log``."""
        with (self.root / f"{name}.log").open("ab") as output:
            process = subprocess.Popen(
                [*self.inside(), *command],
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    @property
    def works(self) -> bool:
        """Whether its worker runs."""
        return self.worker is not None and self.worker.poll() is None

    def signal_worker(self, number: signal.Signals) -> None:
        """Sends its worker's process, and nothing it started, a signal."""
        if self.works and self.worker is not None:
            for pid in children(self.worker.pid):  # nsenter waits for it
                send(pid, number)
            if number is not signal.SIGSTOP:
                send(self.worker.pid, signal.SIGCONT)  # it stops with what it waits for, and does not go on with it

    def kill_worker(self) -> None:
        """As the kernel does when memory runs out: at once, and only this process."""
        self.signal_worker(signal.SIGKILL)
        self.worker_ended(60)

    def worker_ended(self, seconds: float) -> int:
        """Its exit code, when it has ended."""
        if self.worker is None:
            return 0
        return self.worker.wait(seconds)

    def kill_engine(self) -> None:
        """Kills the engine and what it started for itself, not the containers; it starts again at once."""
        for pid in descendants(self._init):
            name = Path(f"/proc/{pid}/comm")
            with suppress(OSError):
                if name.read_text().strip() in ("dockerd", "containerd"):
                    send(pid, signal.SIGKILL)

    def freeze_engine(self, *, on: bool) -> None:
        """Stops the engine alone, so that it does not answer, or lets it go on."""
        for pid in descendants(self._init):
            with suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd":
                    send(pid, signal.SIGSTOP if on else signal.SIGCONT)

    def freeze(self, *, on: bool) -> None:
        """Stops every process of the node, engine and containers too, or lets them go on."""
        number = signal.SIGSTOP if on else signal.SIGCONT
        for pid in descendants(self._init):
            send(pid, number)
        self.signal_worker(number)

    def power_off(self) -> None:
        """Everything on it ends at once."""
        if self._plug is not None:
            self._plug.kill()
            self._plug.wait()
        for process in self._started:
            if process.poll() is None:
                send(process.pid, signal.SIGCONT)  # it stopped with what it waited for, if that was frozen
            process.wait(60)
        self._plug = None
        wait(lambda: not mentioning(f"{self.root}/exec"), f"{self.id}: processes are left")

    def reap(self) -> None:
        """Its processes have been ended; nothing of them is left in this process."""
        for process in (*self._started, *([self._plug] if self._plug else ())):
            if process.poll() is None:
                send(process.pid, signal.SIGCONT)
                process.kill()
                process.wait(60)

    def lose_power(self) -> None:
        """Ends everything at once; what was not yet written to its disk's image is gone from the disk."""
        image, left = self.root / "disk.ext4", self.root / "left.ext4"
        self.freeze(on=True)
        # What its processes wrote and nothing has synced is in the memory of the mounted file system, not in the image.
        run("cp", "--sparse=always", image, left)
        self.power_off()
        run("umount", "--recursive", self.disk)
        left.rename(image)
        # As at any boot; 1 says that something was corrected.
        check = subprocess.run(["e2fsck", "-p", str(image)], capture_output=True, text=True, check=False)
        if check.returncode > 1:
            raise RuntimeError(f"{self.id}: {check.stdout}")
        run("mount", "-o", "loop,noatime", image, self.disk)

    def fill_disk(self, *, leave_bytes: int) -> None:
        """Takes all of its disk but so much."""
        free = shutil.disk_usage(self.disk).free - leave_bytes
        run("fallocate", "--length", str(free), self.disk / "filler")

    def empty_disk(self) -> None:
        """Gives the disk back."""
        (self.disk / "filler").unlink(missing_ok=True)

    def sandboxes(self) -> list[str]:
        """Names of the containers that its worker made."""
        return self.docker("ps", "--all", "--filter", "label=buildfarm.node", "--format", "{{.Names}}").split()

    def left_behind(self) -> list[str]:
        """Sandboxes and workspaces that are there now."""
        folder = self.disk / "workspaces" / self.id
        return [*self.sandboxes(), *(path.name for path in (folder.iterdir() if folder.is_dir() else ()))]

    def threads(self) -> int:
        """How many threads its worker has."""
        pids = children(self.worker.pid) if self.works and self.worker is not None else []
        return sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in pids)

    @property
    def _init(self) -> int:
        if self._plug is None:
            raise RuntimeError(f"{self.id} is off")
        plug = self._plug.pid
        wait(lambda: bool(children(plug)), f"{self.id} has no init", 30)
        return children(plug)[0]

    def inside(self) -> list[str]:
        """What a command begins with that is to run on it."""
        return ["nsenter", f"--target={self._init}", "--mount", "--net", "--pid", "--"]


def clear_away(root: Path) -> None:
    """Ends every process below ``root``, unmounts and removes everything there but golden disks."""
    for _ in range(50):
        pids = mentioning(f"{root}/n")
        for pid in pids:
            send(pid, signal.SIGCONT)
            send(pid, signal.SIGKILL)
        if not pids:
            break
        with suppress(TimeoutError):
            wait(lambda: not mentioning(f"{root}/n"), "", 0.2)
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if f" {root}/n" in line]
    for place in reversed(mounted):
        run("umount", "--lazy", place, check=False)
    with suppress(TimeoutError):  # a container that was killed a moment ago still holds its group
        wait(_groups_gone, "", 10)
    for folder in root.glob("n*"):
        shutil.rmtree(folder, ignore_errors=True)


def _groups_gone() -> bool:
    """Removes the control groups of nodes, and reports whether none is left."""
    groups = list(Path("/sys/fs/cgroup").glob(f"*/{PREFIX}n*"))
    for group in groups:
        for folder in (*sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True), group):
            with suppress(OSError):
                folder.rmdir()
    return not any(group.exists() for group in groups)
