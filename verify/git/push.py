"""``git push`` to the farm, with git's own client, real builds and a node: ``python -m verify.git.push``.

The services of the local farm must be up. SIZE_MB=50 pushes less than 200 MB. The work of the API is measured in
processor seconds, its own and git's, which other programs on the machine do not change much.
"""

from __future__ import annotations

import itertools
import os
import secrets
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from buildfarm.farm import Farm, open_farm
from buildfarm.model import Build, Phase, State
from buildfarm.settings import read_settings
from buildfarm.sources.packing import digest_of, packed
from buildfarm.store import Leases, Logs, Unclaimed
from testkit.builds import EXAMPLES, build_node, builds_network, empty_namespace, wait_for
from testkit.git_server.checkout import Checkout
from testkit.serving import Api, serving
from testkit.table import Claims

SIZE_MB = int(os.environ.get("SIZE_MB", "200"))
CHANGED_MB = 50
LINES = 30
TENANT = "shop"
MB = 1_000_000
FOLDERS = "buildfarm-push-"


@dataclass
class Trial:
    """A farm with an API that accepts pushes, and a folder for repositories."""

    farm: Farm
    api: Api
    token: str
    folder: Path
    claims: Claims

    def url(self, app: str, tenant: str = TENANT) -> str:
        """Where an app is pushed to."""
        return self.api.url.replace("://", f"://me:{self.token}@") + f"/git/{tenant}/{app}"

    def begun(self, app: str, count: int = 1) -> Build:
        """The newest build of an app, when there are so many."""
        wait_for(lambda: len(self.farm.recent(50, tenant=TENANT, app=app)) >= count, 300)
        return self.farm.recent(1, tenant=TENANT, app=app)[0]

    def left(self) -> list[Path]:
        """Folders of pushes."""
        return list(Path(tempfile.gettempdir()).glob(f"{FOLDERS}{self.api.url.rpartition(':')[2]}-*"))

    def made(self, name: str, files: dict[str, str | bytes]) -> Checkout:
        """A repository."""
        return Checkout.made(self.folder / name, files)


def main() -> None:
    """Tries each claim."""
    claims = Claims("git push to the farm")
    settings = read_settings().model_copy(update={"namespace": f"verify-{secrets.token_hex(4)}:"})
    with ExitStack() as stack:
        network = stack.enter_context(builds_network(settings, f"buildfarm-verify-{os.getpid()}"))
        settings = settings.model_copy(update={"sandbox_network": network})
        stack.callback(empty_namespace, settings)
        farm = stack.enter_context(open_farm(settings))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        api = stack.enter_context(serving(farm, BUILDFARM_GIT_PUSH="true", BUILDFARM_GIT_PUSH_BYTES=f"{300 * MB}"))
        trial = Trial(farm, api, api.token(TENANT, "read", "submit"), folder, claims)
        for part in (lines, size, change, killed):
            part(trial)
        stack.enter_context(build_node(farm))
        for part in (real_builds, parts_that_are_missing):
            part(trial)
        claims.add("nothing of all these pushes is left", f"{len(trial.left())} folders", holds=not trial.left())
    claims.finish()


def lines(trial: Trial) -> None:
    """How long after a node has written a line git prints it."""
    checkout = trial.made("lines", {"index.html": "hi"})
    process = checkout.pushing(trial.url("lines"))
    build, settings = trial.begun("lines"), trial.farm.settings
    leases = Leases(trial.farm.admission, settings.lease_seconds, settings.attempts_max)
    lease, logs = leases.claim(build.id, "a-node"), Logs(trial.farm.database, settings.log_bytes)
    output, waits = process.stdout, []
    if output is None or isinstance(lease, Unclaimed):
        raise AssertionError("the build could not be claimed")
    for number, batch in zip(range(LINES), itertools.count(1), strict=False):
        written = time.monotonic()
        logs.append(lease, Phase.COMPILE, [f"line {number}."], batch)
        while f"line {number}." not in output.readline().decode():
            pass
        waits.append(time.monotonic() - written)
    leases.cancel(lease)
    said = process.communicate(timeout=60)[0].decode()
    slowest = max(waits)
    trial.claims.add("a line of the log is seen within 1 s", f"the slowest of {LINES}: {slowest:.3f} s", slowest <= 1)
    trial.claims.add("the ref is refused with the reason", _last(said), "(the build was cancelled)" in said)


def size(trial: Trial) -> None:
    """One large push."""
    files: dict[str, str | bytes] = {f"f{number}": os.urandom(5 * MB) for number in range(SIZE_MB // 5)}
    checkout = trial.made("size", files)
    before, began = _processor_seconds(trial.api), time.monotonic()
    most = _Most(trial.api.rss_bytes)
    process = checkout.pushing(trial.url("size"))
    build = trial.begun("size")
    took, used = time.monotonic() - began, _processor_seconds(trial.api) - before
    trial.farm.cancel(build.id)
    process.communicate(timeout=60)
    figure = f"{took:.1f} s, {used:.1f} s of processor, the API has {most.end() // MB} MB"
    trial.claims.add(f"a push of {SIZE_MB} MB is taken; the API stays below 400 MB", figure, most.most < 400 * MB)
    same = build.request.source == build.request.source.model_copy(
        update={"digest": digest_of(packed(checkout.path, 300 * MB)[0])}
    )
    trial.claims.add("its source has the digest of a clean checkout's", build.id, same)


def change(trial: Trial) -> None:
    """A one-line change of a repository: the whole of it is sent again."""
    files: dict[str, str | bytes] = {f"d{n % 40}/f{n}": os.urandom(50_000) for n in range(CHANGED_MB * 20)}
    checkout = trial.made("change", files)
    checkout.git("gc", "-q")  # as a clone has it: no push packs it anew
    found = []
    for number in range(3):
        checkout.commit({"line": str(number)})
        before, began = _processor_seconds(trial.api), time.monotonic()
        process = checkout.pushing(trial.url("change"))
        build = trial.begun("change", number + 1)
        found.append((time.monotonic() - began, _processor_seconds(trial.api) - before))
        trial.farm.cancel(build.id)
        process.communicate(timeout=60)
    took, used = min(found)
    figure = f"{took:.1f} s, {used:.1f} s of processor, the best of three"
    trial.claims.add(f"a line of a repository of {CHANGED_MB} MB is changed: submitted within 10 s", figure, took <= 10)


def killed(trial: Trial) -> None:
    """Clients that are killed: in the middle of their objects, and while they follow the build."""
    checkout = trial.made("killed", {f"f{number}": os.urandom(5 * MB) for number in range(20)})
    process = checkout.pushing(trial.url("killed"))
    wait_for(trial.left, 60)
    _kill(process)
    wait_for(lambda: not trial.left(), 60)
    builds = trial.farm.recent(5, tenant=TENANT, app="killed")
    trial.claims.add("a client that is killed while it sends starts no build", f"{len(builds)} builds", not builds)
    small = trial.made("left", {"index.html": "hi"})
    process = small.pushing(trial.url("left"))
    build = trial.begun("left")
    _kill(process)
    wait_for(lambda: not trial.left(), 60)
    state = trial.farm.get(build.id).state
    trial.claims.add("a client that is killed later leaves its build alone", state, not state.final)
    trial.farm.cancel(build.id)


def real_builds(trial: Trial) -> None:
    """Pushes that end with an image, and one that does not."""
    app = trial.folder / "app"
    subprocess.run(["git", "clone", "-q", "--no-local", str(_example(trial)), str(app)], check=True)
    checkout = Checkout(app)
    good, said = checkout.push(trial.url("static"))
    build = trial.begun("static")
    image = trial.farm.image(build) if build.result else "none"
    trial.claims.add("a push ends with the image and its digest", image, good and f"Built: {image}" in said)
    good, said = checkout.push(trial.url("static"))
    trial.claims.add("the same commit again takes the image that is there", _last(said), good and "Taken from" in said)
    first = checkout.pushing(trial.url("static"))
    checkout.commit({"more.html": "x"})
    second = checkout.pushing(trial.url("static"))
    ends = [process.communicate(timeout=300)[0].decode() for process in (first, second)]
    done = [
        process.returncode == 0 or "took its place" in end for process, end in zip((first, second), ends, strict=True)
    ]
    trial.claims.add("two pushes at once to one app both get their answer", " / ".join(map(_last, ends)), all(done))
    none = trial.made("none", {"notes.txt": "no app"})
    good, said = none.push(trial.url("none"))
    words = "remote rejected" in said and "(the build failed: " in said
    trial.claims.add("a failed build refuses the ref", _last(said), not good and words)
    state = trial.begun("none").state
    trial.claims.add("and the record says so", state, state is State.FAILED)


def parts_that_are_missing(trial: Trial) -> None:
    """Submodules and LFS pointers get a sentence; so does a shallow clone's push, which is whole."""
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 5\n"
    checkout = Checkout(_example(trial))
    modules = '[submodule "lib"]\n\tpath = lib\n\turl = https://example.org/lib.git\n'
    checkout.commit({"big.bin": pointer, ".gitmodules": modules})
    checkout.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},lib")
    checkout.git("commit", "-q", "-m", "a submodule")
    _, said = checkout.push(trial.url("parts"))
    trial.claims.add("submodules get a sentence", "seen", "Submodules without their files: lib." in said)
    trial.claims.add("LFS pointers get a sentence", "seen", "Git LFS pointers, without their content: big.bin" in said)
    shallow = trial.folder / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth=1", f"file://{checkout.path}", str(shallow)], check=True)
    good, said = Checkout(shallow).push(trial.url("shallow"))
    trial.claims.add("a shallow clone can push", _last(said), good)


def _example(trial: Trial) -> Path:
    path = trial.folder / "example"
    if not path.exists():
        files = (EXAMPLES / "static").rglob("*")
        content: dict[str, str | bytes] = {
            str(file.relative_to(EXAMPLES / "static")): file.read_bytes() for file in files if file.is_file()
        }
        Checkout.made(path, content)
    return path


class _Most:
    """The largest figure until `end`."""

    def __init__(self, figure: Callable[[], int]) -> None:
        self.most, self._figure, self._ended = 0, figure, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> int:
        """Watch no more; the figure."""
        self._ended.set()
        self._thread.join()
        return self.most

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            self.most = max(self.most, self._figure())


def _processor_seconds(api: Api) -> float:
    """Of the API, and of the children that have ended (proc(5), stat: utime, stime, cutime and cstime)."""
    fields = Path(f"/proc/{api.process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _last(said: str) -> str:
    """What git says of the ref, or its last line."""
    found = [line.strip() for line in said.splitlines() if "main -> main" in line or "error:" in line]
    last = (found or said.strip().splitlines() or ["nothing"])[0]
    return last.replace("[", "(").replace("]", ")")  # the table takes brackets for its own


if __name__ == "__main__":
    os.environ.setdefault("BUILDFARM_LOG_LEVEL", "warning")
    main()
