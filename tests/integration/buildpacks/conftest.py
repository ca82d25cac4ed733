"""Tiny buildpacks made for one clause each, sent to the registry, and apps that they build."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from buildfarm.settings import Settings
from localfarm.packages import ensure_packages
from testkit.buildpacks import SHEBANG
from testkit.builds import Builds, write_files

Files = Mapping[str, str] | None


@pytest.fixture(scope="session")
def jq() -> None:
    """The program that buildpacks read plans with: the builder has it, and here it is installed if it is missing."""
    ensure_packages({"jq": "jq"}, print)


@pytest.fixture(scope="session")
def distribution(services: Settings) -> dict[str, str]:
    """What the builder's os-release says, by its names: another base is another distribution."""
    image = f"{services.registry_url.partition('://')[2]}/{services.builder}"
    asked = ["docker", "run", "--rm", "--network=none", "--entrypoint", "cat", image, "/etc/os-release"]
    lines = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines()
    return dict(line.replace('"', "").split("=", 1) for line in lines if "=" in line)


@pytest.fixture(scope="module")
def pack(built: Builds, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """``pack(detect="exit 0", …)`` is the reference of a classic buildpack whose programs run these lines of bash."""

    def make(name: str = "probe", files: Files = None, **programs: str | None) -> str:
        lines: dict[str, str | None] = {"detect": "echo Probe", "compile": "true", **programs}
        folder = tmp_path_factory.mktemp("buildpack") / name
        write_files(folder, {f"bin/{key}": SHEBANG + body + "\n" for key, body in lines.items() if body is not None})
        write_files(folder, files or {"README.md": "a buildpack of the tests"})
        return str(built.farm.pack_buildpack(folder))

    return make


@pytest.fixture(scope="module")
def pack_cnb(built: Builds, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """``pack_cnb("a/b", detect=…, build=…)`` is the reference of a Cloud Native Buildpack."""

    def make(
        name: str = "probe/one", files: Files = None, api: str = "0.10", more: str = "", **programs: str | None
    ) -> str:
        lines: dict[str, str | None] = {"detect": "exit 0", "build": "exit 0", **programs}
        folder = tmp_path_factory.mktemp("cnb") / name.replace("/", "-")
        toml = f'api = "{api}"\n[buildpack]\nid = "{name}"\nversion = "1.2.3"\n{more}'
        write_files(folder, {f"bin/{key}": SHEBANG + body + "\n" for key, body in lines.items() if body is not None})
        write_files(folder, {"buildpack.toml": toml, **(files or {})})
        return str(built.farm.pack_buildpack(folder))

    return make


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``app({"file": "text"})`` is a folder with an app's source."""

    def make(files: Files = None) -> Path:
        return write_files(tmp_path_factory.mktemp("app"), files or {"file.txt": "x"})

    return make
