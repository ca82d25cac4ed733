"""What operators set for tenants and apps, by its owner, and what a form says of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from buildfarm.errors import RequestError
from buildfarm.gc.retention import Retention

FIELD_WORDS = {
    "running": "builds that run or are queued at once",
    "waiting": "builds that wait at once",
    "bytes": "bytes in the registry",
    **{name: field.description or "" for name, field in Retention.model_fields.items()},
}


def owners(values: Mapping[str, float]) -> dict[str, dict[str, str]]:
    """Group "tenant:name" and "tenant/app:name" by their owner, each value as a form has it."""
    found: dict[str, dict[str, str]] = {}
    for key, value in sorted(values.items()):
        owner, _, name = key.rpartition(":")
        found.setdefault(owner, {})[name] = f"{value:g}" if value < 1e6 else f"{value:.0f}"
    return found


def values_of(
    form: Mapping[str, str], of_tenants: Sequence[str], of_apps: Sequence[str]
) -> tuple[str, str | None, dict[str, float | None]]:
    """Return tenant, app and values of a form; what it leaves out stays as it is.

    An empty field goes back to the tenant's or the farm's setting only where the form showed this owner's values. A
    field that an app cannot have must be empty in an app's form. Raises RequestError.
    """
    tenant, _, app = form.get("owner", "").partition("/")
    if not tenant:
        raise RequestError("The form names no owner.", advice="Write a tenant, or a tenant's app as tenant/app.")
    allowed = of_apps if app else of_tenants
    values = {name: _number(name, form.get(name, "")) for name in of_tenants if _counts(name, allowed, form)}
    if not values:
        raise RequestError(
            f"The form sets nothing for {form['owner'][:100]}.",
            advice="Fill in a field; to take back a value that is set, choose its owner in the table first.",
        )
    return tenant, app or None, values


def _counts(name: str, allowed: Sequence[str], form: Mapping[str, str]) -> bool:
    """A field that was filled in is never left out in silence, and a value that was not shown never taken back."""
    emptied = name in form and form.get("shown") == form["owner"]
    return bool(form.get(name)) or (emptied and name in allowed)


def _number(name: str, text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e18 or (name in ("running", "waiting", "bytes") and value % 1):
        raise RequestError(
            f"{text[:40]!r} is not a number that {name} can have.", advice="Leave it empty for the farm's."
        )
    return value
