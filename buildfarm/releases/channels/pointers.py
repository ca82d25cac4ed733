"""Where channels point, and where they pointed before. Each change is one step in Redis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from buildfarm.errors import ConflictError, NotFoundError, UnconfirmedError
from buildfarm.model import STABLE
from buildfarm.releases.models import ChannelChange
from buildfarm.store.database import Database

HISTORY_MAX = 50
_KEPT_SECONDS = 400 * 86_400


@dataclass(frozen=True)
class Pointers:
    """The bases of channels as repository@digest. Every method raises StoreError if Redis cannot be reached."""

    database: Database

    def all(self) -> dict[str, str]:
        """Every channel that was set, by name."""
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=True)
            pipeline.get(self.database.key("promoted"))
            pipeline.hgetall(self.database.key("channels"))
            promoted, others = pipeline.execute()
        return {**({STABLE: promoted} if promoted else {}), **dict(sorted(others.items()))}

    def get(self, name: str) -> str:
        """The base of a channel; empty if it was not set."""
        with self.database.failures():
            if name == STABLE:
                return str(self.database.client.get(self.database.key("promoted")) or "")
            return str(self.database.client.hget(self.database.key("channels"), name) or "")

    def history(self, name: str) -> tuple[ChannelChange, ...]:
        """A channel's newest changes, the newest first; also of one that was removed."""
        with self.database.failures():
            found: Any = self.database.client.lrange(self.database.key("channel", name), 0, -1)
        return tuple(ChannelChange.model_validate_json(entry, extra="ignore") for entry in found)

    def set(self, name: str, base: str, *, actor: str, reason: str) -> None:
        """Points a channel to a base. Raises UnconfirmedError if too few replicas of Redis have it."""
        self._change(name, base, actor, reason)

    def remove(self, name: str, *, actor: str, reason: str) -> str:
        """Forgets a channel, and returns its base. Raises NotFoundError, and ConflictError if apps follow it."""
        answer, before, *more = self._change(name, "", actor, reason)
        if answer == "unknown":
            raise unknown(name)
        if answer == "used":
            [count] = more
            others = f" and {count - 1} others" if count > 1 else ""
            raise ConflictError(
                f"The channel {name} cannot be removed: {before}{others} follow it."
                if others
                else f"The channel {name} cannot be removed: {before} follows it.",
                advice=f"Choose another for each: buildfarm apps channel {before} {STABLE}",
            )
        return str(before)

    def _change(self, name: str, base: str, actor: str, reason: str) -> list[Any]:
        entry = ChannelChange(base=base, actor=actor, reason=reason, at=self.database.now())
        answer, confirmed = self.database.run_confirmed(
            "channel", [self.database.namespace], name, base, entry.model_dump_json(), HISTORY_MAX, _KEPT_SECONDS
        )
        if not confirmed:
            raise UnconfirmedError(
                f"The channel {name} was changed, but too few replicas of Redis had it in time.",
                advice=f"Look at it in a minute: buildfarm channels show {name}",
            )
        return list(answer)


def unknown(name: str) -> NotFoundError:
    """There is no such channel."""
    return NotFoundError(
        f"There is no channel {name[:80]}.",
        advice="buildfarm channels list shows them; buildfarm channels set makes one.",
    )
