"""One change of a rollout, as the script that makes it reads it. Pure."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from buildfarm.releases.models import Rebase
from buildfarm.releases.rollouts.document import encode, encode_app, log_line
from buildfarm.releases.rollouts.rules.states import App, Phase, Rollout


@dataclass(frozen=True)
class Announcement:
    """An app's tag moves, and its orchestrator learns of it."""

    app: App  # as it is then
    entry: Rebase
    builds_on: str | None  # the base of its builds from now on; empty: the channel's; None: as it is
    reason: str
    is_there: bool = False  # a build has moved the tag already


@dataclass(frozen=True)
class Change:
    """A rollout as it was read, as it becomes, and what changes with it."""

    before: Rollout
    after: Rollout
    apps: Sequence[App] = ()  # those that change
    move: Announcement | None = None
    is_new: bool = False
    ends: Rollout | None = None  # another rollout of the channel whose place this one takes, as it becomes
    moves_channel: bool = False  # to the new base
    builds_on: Mapping[str, str] = field(default_factory=dict)  # the base of apps' builds; empty: the channel's
    step: int = field(default_factory=lambda: 1 + secrets.randbelow(1 << 20))  # else a lost revision comes again

    @property
    def written(self) -> Rollout:
        """The rollout as it is kept."""
        return replace(self.after, revision=self.before.revision + self.step)

    def encode(self) -> str:
        """As scripts/rollout.lua reads it."""
        apps = (*self.apps, *([self.move.app] if self.move else ()))
        first = _rollout(self.before, self.written, apps)
        if self.is_new:
            first |= {"revision": "", "number": self.after.number, "log": log_line(self.after)}
        document: dict[str, Any] = {"rollouts": [first], "bases": dict(self.builds_on)}
        if self.ends is not None:
            ended = replace(self.ends, revision=self.ends.revision + self.step)
            document["rollouts"].append(_rollout(self.ends, ended, ()))
        if self.move is not None:
            document["move"] = _move(self.after, self.move)
        if self.moves_channel:
            document["channel"] = {"before": self.after.source, "after": self.after.base}
        return json.dumps(document)


def _rollout(before: Rollout, after: Rollout, apps: Sequence[App]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": after.id, "channel": after.channel, "revision": str(before.revision), "next": str(after.revision),
        "header": encode(after), "apps": {app.name: encode_app(app) for app in apps},
    }  # fmt: skip
    if after.phase.final:
        found["final"] = True
    if after.phase.active:
        found["active"] = True
    if (after.phase, after.since) != (before.phase, before.since) or after.phase is Phase.SUPERSEDED:
        found["log"] = log_line(after)
    return found


def _move(rollout: Rollout, move: Announcement) -> Mapping[str, str]:
    entry = {} if move.is_there else {"entry": move.entry.model_dump_json()}
    base = {} if move.builds_on is None else {"base": move.builds_on}
    return {
        **entry,
        **base,
        "app": move.app.name,
        "target": f"apps/{move.app.name}",
        "before": move.entry.image if move.is_there else move.entry.previous,
        "after": move.entry.image,
        "previous": move.entry.previous,
        "on": move.entry.base,
        "rollout": rollout.id,
        "wave": str(rollout.wave),
        "reason": move.reason,
    }
