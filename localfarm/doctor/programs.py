"""The Docker engine, and the programs that a node calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from buildfarm.settings import Settings
from localfarm import engine
from localfarm.doctor.finding import Finding, missing, notice, obstacle, ok
from localfarm.packages import install_obstacle, missing_packages
from workers.sandbox.self_check import engine_differences, missing_limits


def check_absent_engine(url: str) -> Finding:
    """An engine that does not answer, which `up` may be able to install and start."""
    if error := engine.start_obstacle(url):
        return obstacle("engine", error)
    packages = missing_packages(engine.PROGRAMS)
    if packages and (error := install_obstacle(packages)):
        return obstacle("engine", error)
    what = "is not installed" if packages else "does not run"
    does = "installs and starts" if packages else "starts"
    return notice("engine", f"The Docker engine {what}.", f"`buildfarm up` {does} it.")


def check_engine(
    version: Mapping[str, Any], info: Mapping[str, Any], url: str, settings: Settings
) -> Iterator[Finding]:
    """An engine that answers."""
    wrong = engine_differences(version, info, user_namespace=settings.user_namespace_offset > 0)
    for what in wrong:
        yield missing("engine", f"Sandboxes would not be secure: {what}.", "Correct it; see docs/security.md.")
    if not wrong:
        yield ok("engine", f"Docker {version.get('Version', '')} at {url}")
    if limits := missing_limits(info):
        detail = f"The control groups do not limit {', '.join(limits)}, so a build could take all of it."
        yield notice("cgroups", detail, "Enable these controllers in the kernel, or use control groups version 2.")
    else:
        yield ok("cgroups", f"version {info.get('CgroupVersion', '1')}")


def check_programs(programs: Mapping[str, str]) -> list[Finding]:
    """Programs that a node calls, and the packages that have them."""
    packages = missing_packages(programs)
    if not packages:
        return [ok("programs", ", ".join(programs))]
    if error := install_obstacle(packages):
        return [obstacle("programs", error)]
    return [notice("programs", f"{' '.join(packages)} is missing.", "`buildfarm up` installs it.")]
