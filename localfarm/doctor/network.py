"""Ports that the farm listens on, and certificates that builds trust."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import SetupError
from localfarm.doctor.finding import Finding, missing, notice, obstacle, ok
from localfarm.services import is_free


@dataclass(frozen=True)
class Port:
    """A port that a part of the farm listens on, and the error if another process has it."""

    host: str
    number: int
    taken: SetupError
    is_own: Callable[[], bool]  # whether the farm itself, which runs already, has it


def check_ports(ports: list[Port]) -> Iterator[Finding]:
    """Whether each is free, or the farm's."""
    taken = [port for port in ports if not is_free(port.host, port.number) and not port.is_own()]
    yield from (obstacle("ports", port.taken) for port in taken)
    if not taken:
        yield ok("ports", ", ".join(f"{port.host}:{port.number}" for port in ports))


def check_certificates(bundle: Path | None) -> Finding:
    """Whether builds trust what this machine's network needs."""
    if bundle is None:
        advice = "If your network has a certificate authority, name a file with it in BUILDFARM_CA_BUNDLE."
        return notice("certificates", "This machine has no CA bundle, so builds use that of their image.", advice)
    try:
        count = bundle.read_text(errors="replace").count("-----BEGIN CERTIFICATE-----")
    except OSError as error:
        detail = f"The CA bundle {bundle} cannot be read: {error.strerror}."
        return missing("certificates", detail, "Correct BUILDFARM_CA_BUNDLE.")
    if not count:
        advice = "Name a file of PEM certificates in BUILDFARM_CA_BUNDLE."
        return missing("certificates", f"The CA bundle {bundle} has no certificate.", advice)
    return ok("certificates", f"{count} in {bundle}")
