"""All checks of `buildfarm doctor`, by the rules of `up` and of the node."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path

import docker

from buildfarm.errors import SetupError
from buildfarm.recipes.folder import recipes_folder
from buildfarm.settings import Settings
from localfarm import api, engine, services
from localfarm.doctor.finding import Finding, obstacle, ok
from localfarm.doctor.kernel import Kernel, check_kernel, check_rights
from localfarm.doctor.network import Port, check_certificates, check_ports
from localfarm.doctor.programs import check_absent_engine, check_engine, check_programs
from localfarm.doctor.room import check_folders, check_memory
from localfarm.farm import PROGRAMS
from localfarm.state import LocalState, read_state
from workers.engine import engine_failures

_MEMINFO = Path("/proc/meminfo")
_FOLDERS = ("state_directory", "workspace_directory", "cache_directory", "buildpack_directory", "tool_directory")


def examine(settings: Settings) -> list[Finding]:
    """What is there and what is missing; nothing is changed. Raises NodeError, and SetupError as `read_state` does."""
    state = read_state(settings.state_directory) or LocalState("")
    url = engine.wanted_url()
    client = engine.connect(url)
    folders = {f"BUILDFARM_{name.upper()}": Path(getattr(settings, name)) for name in _FOLDERS}
    with closing(client) if client else nullcontext():
        found = [check_rights(), *_engine(client, url, settings, folders), *check_programs(PROGRAMS)]
        found += check_kernel(Kernel.read(), is_root=os.geteuid() == 0)
        found.append(check_memory(_MEMINFO.read_text(), settings))
        found += check_folders(settings, folders)
        found += check_ports([*_service_ports(client, state), _api_port(settings)])
    return [*found, check_certificates(settings.ca_bundle), _recipes()]


def _engine(
    client: docker.DockerClient | None, url: str, settings: Settings, folders: dict[str, Path]
) -> list[Finding]:
    """What of the engine is to be said; ``folders`` gets that of its data, where it is on this machine."""
    if client is None:
        return [check_absent_engine(url)]
    with engine_failures("report what it is"):
        version, info = client.version(), client.info()
    # Path.is_dir would raise where a folder above is closed to this user.
    if os.path.isdir(data := Path(info["DockerRootDir"])):  # noqa: PTH112
        folders[""] = data  # the engine writes there, not this user
    return list(check_engine(version, info, url, settings))


def _service_ports(client: docker.DockerClient | None, state: LocalState) -> Iterator[Port]:
    for role, number in (("redis", state.redis_port), ("registry", state.registry_port)):
        is_own = partial(services.has_port, client, role, number) if client else lambda: False
        yield Port("127.0.0.1", number, services.port_taken(role, number), is_own)


def _api_port(settings: Settings) -> Port:
    taken = SetupError(
        f"Port {settings.api_port} of {settings.api_host} is taken, and the farm's API needs it.",
        advice=f"Free it, or {api.PORT_ADVICE}",
    )
    return Port(settings.api_host, settings.api_port, taken, partial(_has_api, settings.state_directory))


def _has_api(directory: Path) -> bool:
    return api.running_api(directory) is not None


def _recipes() -> Finding:
    try:
        return ok("recipes", str(recipes_folder()))
    except SetupError as error:
        return obstacle("recipes", error)
