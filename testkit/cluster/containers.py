"""The farm's Redis and registry as containers. The environment can name others than those of this machine's farm."""

from __future__ import annotations

import os
import subprocess

ENGINE = "BUILDFARM_TESTS_SERVICES_ENGINE"  # the address of the engine that has them; empty: the usual one
NAMES = "BUILDFARM_TESTS_SERVICES_NAMES"  # how the containers' names begin


def address(role: str) -> str:
    """Its address in the farm's network."""
    return _inspected(role, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")


def folder(role: str) -> str:
    """The folder of this machine in which its files are."""
    return _inspected(role, "{{range .Mounts}}{{.Source}}{{end}}")


def grep(role: str, words: str, place: str) -> bytes:
    """All that matches an extended regular expression in its files below a folder, a line each."""
    command = ["exec", _name(role), "grep", "-rahoE", words, place]
    _inspected(role, "{{.State.Running}}")  # `docker exec` ends as grep does that finds nothing
    return subprocess.run([*_docker(), *command], capture_output=True, check=False).stdout


def _inspected(role: str, form: str) -> str:
    ask = [*_docker(), "inspect", "--format", form, _name(role)]
    return subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()


def _docker() -> list[str]:
    engine = os.environ.get(ENGINE)
    return ["docker", *(["--host", engine] if engine else [])]


def _name(role: str) -> str:
    return f"{os.environ.get(NAMES, 'buildfarm')}-{role}"
