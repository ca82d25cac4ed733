"""The system that buildpacks run on, as the specification names it (platform.md, "Target data")."""

from __future__ import annotations

import platform
from collections.abc import Mapping

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def this_system() -> Mapping[str, str]:
    """os, arch, distro and version."""
    release = platform.freedesktop_os_release()
    machine = platform.machine()
    return {
        "os": "linux",
        "arch": _MACHINES.get(machine, machine),
        "distro": release.get("ID", ""),
        "version": release.get("VERSION_ID", ""),
    }


def target_variables(system: Mapping[str, str]) -> dict[str, str]:
    """CNB_TARGET_*, as each program of a buildpack gets them."""
    names = {"os": "OS", "arch": "ARCH", "distro": "DISTRO_NAME", "version": "DISTRO_VERSION"}
    return {f"CNB_TARGET_{name}": system[key] for key, name in names.items() if system[key]}
