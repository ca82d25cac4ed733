"""Build variables at rest: a value each, encrypted and bound to its scope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from buildfarm.config_vars.build_variables import BuildVariable, BuildVariables, VariableView
from buildfarm.errors import NodeError, RequestError
from buildfarm.seal import Seal
from buildfarm.store.database import Database
from buildfarm.telemetry import logger

NAMES_MAX = 500  # of the farm, and of a tenant with all of its apps
SEALED_BYTES_MAX = 524_288  # likewise; what a build gets must fit into the environment of a process


@dataclass(frozen=True)
class VariableStore:
    """The variables of the farm, of tenants and of apps. Every method raises StoreError if Redis cannot be reached."""

    database: Database
    seal: Seal

    def of(self, tenant: str, app: str) -> BuildVariables:
        """What counts for a build of the app. Raises NodeError if this process cannot decrypt it."""
        farm, own = self._read(tenant)
        places = ((farm, None, None), (own, tenant, None), (own, tenant, app))
        return BuildVariables.merged(*(self._opened(*place) for place in places))

    def readable(self, tenant: str, app: str) -> BuildVariables | None:
        """What counts for a build of the app; None if this process cannot decrypt it: nodes may have the key."""
        try:
            return self.of(tenant, app)
        except NodeError as error:
            logger().warning("variables_not_read", reason=error.message)
            return None

    def has_some(self, tenant: str, app: str) -> bool:
        """Whether any counts for a build of the app; no key is needed for that."""
        farm, own = self._read(tenant)
        return bool(farm) or any(place.rpartition(":")[0] in ("", app) for place in own)

    def views(self, tenant: str | None = None) -> list[VariableView]:
        """What is set for the farm, and for a tenant and each of its apps."""
        farm, own = self._read(tenant or "")
        return [
            VariableView(name=name, tenant=owner, app=app or None, file="f" in flags, secret="s" in flags)
            for owner, found in ((None, farm), (tenant, own))
            for place, stored in sorted(found.items())
            for (app, _, name), flags in [(place.rpartition(":"), stored.partition(" ")[0])]
        ]

    def change(self, tenant: str | None, app: str | None, changes: Mapping[str, BuildVariable | None]) -> None:
        """Sets variables of a scope; None removes one. All changes count from the same moment.

        Raises RequestError if there is no key to encrypt them with, or no room for them.
        """
        pairs = []
        for name, new in changes.items():
            pairs += [_place(app, name), self._sealed(_scope(tenant, app), name, new) if new else ""]
        answer: Any = self.database.run("variables", [self._key(tenant)], NAMES_MAX, SEALED_BYTES_MAX, *pairs)
        if answer:
            raise RequestError(
                f"There is no room for these variables: {tenant or 'the farm'} may have {NAMES_MAX} of them, and"
                f" {SEALED_BYTES_MAX:,} bytes when they are encrypted; there would be {answer[0]} and {answer[1]:,}.",
                advice="Remove some with buildfarm env unset.",
            )

    def _sealed(self, scope: str, name: str, new: BuildVariable) -> str:
        flags = "f" * new.file + "s" * new.secret
        return f"{flags or '-'} {self.seal.close(scope, {name: new.value})}"

    def _opened(self, found: Mapping[str, str], tenant: str | None, app: str | None) -> dict[str, BuildVariable]:
        opened = {}
        for place, stored in found.items():
            of_app, _, name = place.rpartition(":")
            flags, _, sealed = stored.partition(" ")
            if of_app == (app or ""):
                try:
                    value = self.seal.open(_scope(tenant, app), sealed)[name]
                except NodeError as error:
                    message = f"The build variable {name} of {_owner(tenant, app)} cannot be decrypted here."
                    raise NodeError(message, advice=error.advice) from error
                opened[name] = BuildVariable(value=value, file="f" in flags, secret="s" in flags)
        return opened

    def _read(self, tenant: str) -> tuple[dict[str, str], dict[str, str]]:
        """Of the farm, and of the tenant with its apps."""
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=False)
            pipeline.hgetall(self._key(None))
            if tenant:
                pipeline.hgetall(self._key(tenant))
            farm, *own = pipeline.execute()
        return farm, own[0] if own else {}

    def _key(self, tenant: str | None) -> str:
        return self.database.key("variables", tenant) if tenant else self.database.key("variables")


def _place(app: str | None, name: str) -> str:
    return f"{app}:{name}" if app else name


def _owner(tenant: str | None, app: str | None) -> str:
    return "/".join(filter(None, (tenant, app))) or "the farm"


def _scope(tenant: str | None, app: str | None) -> str:
    """What a value is bound to. No build's id has such a form."""
    return f"variables of {tenant or ''}/{app or ''}"
