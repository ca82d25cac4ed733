"""What this machine's kernel and this process's rights are enough for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from localfarm.doctor.finding import Finding, missing, notice, ok
from workers.sandbox.firewall import may_administer

# What a node that is root mounts: the name of the file system or device, and what for.
_FEATURES = {
    "ext4": "builds have disks of a bounded size",
    "overlay": "unpacked caches are laid under builds",
    "loop": "builds have disks of a bounded size",
}
_LOOP_CONTROL = Path("/dev/loop-control")


@dataclass(frozen=True)
class Kernel:
    """What of this machine's kernel is to be seen."""

    filesystems: str  # /proc/filesystems
    modules: str  # names of the modules that can be loaded, as modules.dep and modules.builtin have them
    has_loop: bool

    @classmethod
    def read(cls) -> Kernel:
        """This machine's."""
        folder = Path("/lib/modules", os.uname().release)
        files = [folder / name for name in ("modules.dep", "modules.builtin")]
        modules = "".join(file.read_text(errors="replace") for file in files if file.is_file())
        return cls(Path("/proc/filesystems").read_text(), modules, _LOOP_CONTROL.exists())

    def has(self, feature: str) -> bool:
        """Whether it is there, or is loaded when it is needed."""
        there = self.has_loop if feature == "loop" else feature in self.filesystems.split()
        return there or re.search(rf"/{feature}\.ko\b", self.modules) is not None


def check_rights() -> Finding:
    """What this user's node can and cannot do."""
    if os.geteuid() != 0:
        what = "This user is not root: builds have no disk limits, and their network has no rules."
        return notice("rights", what, "Run `buildfarm up` as root for both; see docs/security.md.")
    if not may_administer():
        what = "This process lacks CAP_NET_ADMIN, so the builds' network has no rules."
        return notice("rights", what, "Add the capability to the container that this runs in; see docs/security.md.")
    return ok("rights", "root")


def check_kernel(kernel: Kernel, *, is_root: bool) -> Iterator[Finding]:
    """What a node mounts; an ordinary user's mounts nothing."""
    lacking = [feature for feature in _FEATURES if is_root and not kernel.has(feature)]
    for feature in lacking:
        yield missing(
            "kernel",
            f"This kernel has no {feature}, with which {_FEATURES[feature]}.",
            f"Run `modprobe {feature}`; in a container, on its host.",
        )
    if not lacking:
        yield ok("kernel", f"{os.uname().release}, {', '.join(_FEATURES)}" if is_root else os.uname().release)
