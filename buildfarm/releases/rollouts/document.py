"""Rollouts, their apps and reports about apps as Redis keeps them. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import lru_cache
from typing import Any

from buildfarm.releases.rollouts.rules.parameters import Parameters
from buildfarm.releases.rollouts.rules.reports import AppHealth, Observation, Status
from buildfarm.releases.rollouts.rules.states import App, AppState, Phase, Rollout
from buildfarm.releases.rollouts.rules.window import KEPT

_APP = {field.name: field.default for field in fields(App)}
_APPS_KEPT = 20_000  # that were read before: some 20 MB
_ROLLOUT = {field.name for field in fields(Rollout)}


def encode(rollout: Rollout) -> str:
    """The rollout without its apps."""
    values = {name: value for name, value in vars(rollout).items() if name != "parameters"}
    return json.dumps({**values, "parameters": rollout.parameters.model_dump(mode="json")})


def decode(text: str) -> Rollout:
    """What a newer version adds is left out."""
    values: dict[str, Any] = {name: value for name, value in json.loads(text).items() if name in _ROLLOUT}
    values["parameters"] = Parameters.model_validate(values["parameters"], extra="ignore", context=KEPT)
    values["differences"] = tuple(values.get("differences", ()))
    values["phase"] = Phase(values["phase"])
    values["paused_in"] = Phase(values["paused_in"]) if values["paused_in"] else None
    return Rollout(**values)


def encode_app(app: App) -> str:
    """Without its name, and without what is as in a new one."""
    return json.dumps({name: value for name, value in asdict(app).items() if name != "name" and value != _APP[name]})


@lru_cache(_APPS_KEPT)
def decode_app(name: str, text: str) -> App:
    """Likewise."""
    values: Mapping[str, Any] = json.loads(text)
    known = {field: value for field, value in values.items() if field in _APP and field != "name"}
    state = AppState(known.pop("state", AppState.UNCHECKED))
    return App(name, state, reasons=tuple(known.pop("reasons", ())), **known)


def decode_health(fields: Mapping[str, str]) -> AppHealth:
    """The reports about an app, as scripts/health.lua keeps them."""
    found = []
    for name, text in fields.items():
        digest, _, reporter = name.partition(" ")
        _, until, turned, status, report = text.split(" ", 4)
        reason = str(json.loads(report).get("reason", ""))
        found.append(Observation(digest, reporter, Status(status), float(until), float(turned), reason))
    return AppHealth(tuple(found))


def log_line(rollout: Rollout) -> str:
    """The newest change of its phase."""
    line = {"at": rollout.since, "phase": rollout.phase, "wave": rollout.wave, "actor": rollout.actor}
    return json.dumps({**line, "reason": rollout.reason})
