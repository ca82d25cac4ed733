"""Push hooks at rest: what each is to do, its secret and its token, encrypted, and what came of its last delivery."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from buildfarm.errors import NotFoundError, RequestError
from buildfarm.seal import Seal
from buildfarm.sources.pushes.hook import Hook, HookView, NewHook
from buildfarm.store.database import Database

TENANT_MAX = 500
_LAST_SECONDS = 90 * 86_400
_SECRET_BYTES = 32  # GitLab accepts no other number


@dataclass(frozen=True)
class OpenHook:
    """A hook with what is encrypted at rest."""

    hook: Hook
    secret: str = field(repr=False)  # whsec_<base64>; all forges but GitLab take the whole text as the key
    token: str = field(default="", repr=False)


@dataclass(frozen=True)
class HookStore:
    """The hooks of all tenants. Every method raises StoreError if Redis cannot be reached."""

    database: Database
    seal: Seal

    def make(self, new: NewHook, tenant: str, page: str) -> HookView:
        """Keep a new hook, and return it with its secret, which is not shown again. Raises RequestError."""
        others = self.views(tenant)
        if new.pull_requests and any(other.pull_requests and other.app == new.app for other in others):
            raise RequestError(
                f"{tenant}/{new.app} has a push hook for pull requests already.",
                advice="Remove it first, or name another app: buildfarm hooks list.",
            )
        if len(others) >= TENANT_MAX:
            raise RequestError(
                f"{tenant} has {TENANT_MAX} push hooks already, which is the limit.",
                advice="Remove some with buildfarm hooks remove.",
            )
        values = new.model_dump(exclude={"tenant", "page", "status_token"})
        hook = Hook(
            **values, id=secrets.token_hex(8), tenant=tenant, page=page.rstrip("/"),
            made_at=self.database.now(), has_token=bool(new.status_token),
        )  # fmt: skip
        secret = f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"
        sealed = self.seal.close(_scope(hook.id), {"secret": secret, "token": new.status_token})
        text = json.dumps({"hook": hook.model_dump(mode="json"), "sealed": sealed})
        with self.database.failures():
            self.database.client.hset(self._key, hook.id, text)
        return _view(hook, "").model_copy(update={"secret": secret})

    def get(self, hook_id: str) -> OpenHook:
        """Raises NotFoundError, and NodeError if this process cannot decrypt it."""
        with self.database.failures():
            text: Any = self.database.client.hget(self._key, hook_id)
        if not text:
            raise _missing(hook_id)
        values = json.loads(text)
        opened = self.seal.open(_scope(hook_id), values["sealed"])
        return OpenHook(_hook(values), opened["secret"], opened["token"])

    def views(self, tenant: str | None = None) -> list[HookView]:
        """The hooks of a tenant, or of all, by app."""
        with self.database.failures():
            found: Any = self.database.client.hgetall(self._key)
            hooks = [_hook(json.loads(text)) for text in found.values()]
            hooks = [hook for hook in hooks if tenant in (None, hook.tenant)]
            keys = [self.database.key("hook", hook.id, "last") for hook in hooks]
            lasts: Any = self.database.client.mget(keys) if keys else []
        views = [_view(hook, last or "") for hook, last in zip(hooks, lasts, strict=True)]
        return sorted(views, key=lambda view: (view.tenant, view.app, view.made_at))

    def view(self, hook_id: str, tenant: str | None = None) -> HookView:
        """Raises NotFoundError, alike for a hook of another tenant and for none at all."""
        with self.database.failures():
            text: Any = self.database.client.hget(self._key, hook_id)
            last: Any = self.database.client.get(self.database.key("hook", hook_id, "last"))
        hook = _hook(json.loads(text)) if text else None
        if hook is None or tenant not in (None, hook.tenant):
            raise _missing(hook_id)
        return _view(hook, last or "")

    def remove(self, hook_id: str) -> None:
        """From now on its deliveries are refused."""
        keys = [self.database.key("hook", hook_id, part) for part in ("last", "seen", "inbox", "state")]
        with self.database.failures():
            pipeline = self.database.client.pipeline()
            pipeline.hdel(self._key, hook_id)
            pipeline.unlink(*keys)
            pipeline.execute()

    def note(self, hook_id: str, text: str) -> None:
        """What came of the newest delivery, for people."""
        value = f"{self.database.now():.0f} {text[:500]}"
        with self.database.failures():
            self.database.client.set(self.database.key("hook", hook_id, "last"), value, ex=_LAST_SECONDS)

    @property
    def _key(self) -> str:
        return self.database.key("hooks")


def _missing(hook_id: str) -> NotFoundError:
    return NotFoundError(f"There is no push hook {hook_id[:80]}.", advice="buildfarm hooks list shows them.")


def _hook(values: dict[str, Any]) -> Hook:
    return Hook.model_validate(values["hook"], extra="ignore")


def _view(hook: Hook, last: str) -> HookView:
    at, _, text = last.partition(" ")
    return HookView(**dict(hook), url=hook.address, last=text, last_at=float(at) if at else None)


def _scope(hook_id: str) -> str:
    """What secret and token are bound to. No build's id has such a form."""
    return f"push hook {hook_id}"
