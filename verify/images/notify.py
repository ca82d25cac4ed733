"""Whether a server notifies a service manager, as sd_notify(3) describes; its image has a small libsystemd."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from buildfarm.recipes.plan import SlimPlan
from testkit.table import Claims
from workers.image_builds.smoke import Server

SECONDS = 20.0
OPTIONS = {"redis": ("--supervised", "systemd"), "valkey": ("--supervised", "systemd")}  # the others always notify

Running = Callable[..., AbstractContextManager[Server]]


def tells_manager(claims: Claims, plan: SlimPlan, running: Running) -> None:
    """Adds a claim: READY=1 arrives at the socket that the server is given. ``running`` starts it."""
    with tempfile.TemporaryDirectory() as text, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        folder = Path(text)
        folder.chmod(0o755)
        manager.bind(str(folder / "manager"))
        (folder / "manager").chmod(0o777)
        manager.settimeout(SECONDS)
        told: list[str] = []
        with running(folder, list(OPTIONS.get(plan.name, ())), environment={"NOTIFY_SOCKET": "/given/manager"}):
            try:
                while not any("READY=1" in message for message in told):
                    told.append(manager.recv(4096).decode())
            except TimeoutError:
                told.append("nothing")
    held = "READY=1" in told[-1].splitlines()
    claims.add(f"{plan.name} {plan.version} notifies a service manager that it is ready", repr(told[-1])[:80], held)
