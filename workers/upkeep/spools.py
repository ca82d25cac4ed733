"""Logs that wait on the node until the registry has them."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildfarm.oci.registry import Registry
from buildfarm.store import Lease, Logs
from buildfarm.store.archive.log_text import encode_grouped
from buildfarm.store.archive.sent_logs import repository_of_logs
from buildfarm.telemetry import Logger
from workers.attempt.spool import Spool, read_groups

SPOOLS_SECONDS = 1.0

_WAITING = ".json"  # a log that is complete has a file beside it that says whose it is


@dataclass(frozen=True)
class Spools:
    """The node's spools: of attempts that run, and of those that ended and wait."""

    directory: Path
    waiting_bytes: int  # more than this does not wait: the oldest are lost, and Redis's window remains of them
    node_id: str
    logs: Logs
    registry: Registry
    logger: Logger

    def open(self) -> None:
        """Makes the folder, and removes what attempts of an earlier process left. Raises OSError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for path in self.directory.iterdir():
            if path.suffix != _WAITING and not path.with_suffix(_WAITING).exists():
                path.unlink()

    def begin(self, lease: Lease) -> Spool:
        """The spool of an attempt."""
        # Any client of the queue can choose a build's id.
        name = hashlib.sha256(lease.build_id.encode()).hexdigest()[:32]
        path = self.directory / f"{name}-{lease.attempt}.log"
        failed = lambda error: self.logger.warning("spool_given_up", build=lease.build_id, reason=error.strerror)  # noqa: E731
        return Spool(path, lambda: self.logs.expect(lease, self.node_id), failed)

    def end(self, lease: Lease, spool: Spool, place: str) -> None:
        """The attempt has ended: its log waits, if it is to be sent. Without a ``place`` nothing was written."""
        if not spool.close() or not place:
            return
        told = {"build": lease.build_id, "attempt": lease.attempt, "place": place, "positions": spool.positions}
        with suppress(OSError):  # Redis's window remains
            partial = spool.path.with_suffix(".partial")
            partial.write_text(json.dumps(told))
            partial.rename(spool.path.with_suffix(_WAITING))

    def send(self) -> None:
        """Sends what waits, the oldest first. Raises StoreError and RegistryError."""
        self._keep_within()
        for note in self._waiting():
            self._send(note)

    def waiting(self) -> list[int]:
        """The sizes of the logs that wait, in bytes."""
        return [_size(note) for note in self.directory.glob(f"*{_WAITING}")]

    def _waiting(self) -> list[Path]:
        return sorted(self.directory.glob(f"*{_WAITING}"), key=lambda path: path.stat().st_mtime)

    def _send(self, note: Path) -> None:
        told = self._read(note)
        if told is None:
            return
        try:
            positions = [tuple(known) for known in told["positions"]]
            content = encode_grouped(read_groups(note.with_suffix(".log"), told["attempt"], positions))
        except (OSError, ValueError) as error:
            self._lose(told, str(error))
        else:
            digest = self.registry.put_blob(repository_of_logs(told["place"]), content, look=False)
            self.logs.sent(told["build"], told["attempt"], digest, len(content))
        self._remove(note)

    def _keep_within(self) -> None:
        waiting = self._waiting()
        total = sum(_size(note) for note in waiting)
        for note in waiting:
            if total <= self.waiting_bytes:
                return
            total -= _size(note)
            if (told := self._read(note)) is not None:
                self._lose(told, "too many logs wait for the registry")
                self._remove(note)

    def _read(self, note: Path) -> dict[str, Any] | None:
        """What a note says. One that the node's power loss emptied is removed, since nothing says whose log it is."""
        try:
            told: dict[str, Any] = json.loads(note.read_text())
        except ValueError as error:
            self.logger.warning("spool_lost", file=note.name, reason=str(error))
            self._remove(note)
            return None
        return told

    def _lose(self, told: dict[str, Any], reason: str) -> None:
        self.logger.warning("spool_lost", build=told["build"], reason=reason)
        self.logs.sent(told["build"], told["attempt"], "", 0)

    def _remove(self, note: Path) -> None:
        note.with_suffix(".log").unlink(missing_ok=True)
        note.unlink(missing_ok=True)


def _size(note: Path) -> int:
    with suppress(OSError):
        return note.with_suffix(".log").stat().st_size
    return 0
