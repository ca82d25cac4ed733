"""The engines on which the farm is tried: this machine's, and those of Debian's suites, unpacked and not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from testkit.cluster.shell import run

CHOICE = "BUILDFARM_TRIAL_ENGINE"  # the name of one, for what is tried on nodes
_CACHE = Path.home() / ".cache/buildfarm/engines"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Those of the suite's C library too: runc starts itself anew, so it cannot be started by a loader that we name.
_PACKAGES = ("docker.io", "containerd", "runc", "libc6", "libseccomp2")
_INIT = {"trixie": "tini", "sid": "tini-static"}
_OFFSET = 200_000
_USERS = f"dockremap:{_OFFSET}:65536\n"
_ACCOUNT = "dockremap:x:65500:"


@dataclass(frozen=True)
class Engine:
    """An engine and how it is set up."""

    name: str
    suite: str = ""  # of Debian; empty: the engine of this machine
    options: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)  # that its worker needs
    files: Mapping[str, str] = field(default_factory=dict)  # that the node has other lines in, added to this machine's

    def programs(self) -> Path | None:
        """The folder whose usr goes over that of the node, fetched if it is not there. Raises RuntimeError."""
        return _unpacked(self.suite) if self.suite else None


_REMAPPED = {
    "/etc/subuid": _USERS,
    "/etc/subgid": _USERS,
    "/etc/passwd": f"{_ACCOUNT}65500::/:/usr/sbin/nologin\n",
    "/etc/group": f"{_ACCOUNT}\n",
}
OWN = Engine("own")
ENGINES = {
    engine.name: engine
    for engine in (
        OWN,
        Engine("trixie", "trixie"),
        Engine("sid", "sid"),
        Engine("sid-containerd", "sid", ("--feature=containerd-snapshotter=true",)),
        Engine(
            "sid-userns",
            "sid",
            ("--userns-remap=dockremap",),
            {"BUILDFARM_USER_NAMESPACE_OFFSET": str(_OFFSET)},
            _REMAPPED,
        ),
    )
}


def chosen() -> Engine:
    """The one that the environment names, or else this machine's."""
    return ENGINES[os.environ.get(CHOICE) or OWN.name]


def _unpacked(suite: str) -> Path:
    folder = _CACHE / suite
    root = folder / "root"
    if root.exists():
        return root
    half = folder / "half"
    shutil.rmtree(half, ignore_errors=True)
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    listed = run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian")
    mirror = listed.split()[0]
    (folder / "sources").write_text(f"deb [signed-by={_KEYRING}] {mirror} {suite} main\n")
    settings = {
        "Dir::Etc::sourcelist": folder / "sources", "Dir::Etc::sourceparts": "-", "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status", "Dir::Cache": folder, "APT::Sandbox::User": "root",
    }  # fmt: skip
    apt = ["apt-get", "-q", *(part for name, value in settings.items() for part in ("-o", f"{name}={value}"))]
    download = [*apt, "download", *_PACKAGES, _INIT[suite]]
    for command in ([*apt, "update"], download):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"The engine of Debian {suite} cannot be fetched: {done.stderr.strip()[-300:]}")
    for package in folder.glob("*.deb"):
        run("dpkg", "-x", package, half)
    half.rename(root)
    return root
