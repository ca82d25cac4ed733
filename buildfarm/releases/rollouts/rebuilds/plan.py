"""Which apps a campaign looks at."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from buildfarm.errors import RequestError
from buildfarm.releases.facts.components.expression import Expression
from buildfarm.releases.facts.components.store import ComponentStore
from buildfarm.releases.facts.components.where import Search
from buildfarm.releases.rollouts.rules.states import App, AppState
from buildfarm.store.database import Database

_ALL = 1_000_000  # more than there are


def candidates(database: Database, expression: str, freeze: Collection[str]) -> list[App]:
    """The apps that have a component or may have it: a node looks at each.

    Args:
        database: the farm's Redis.
        expression: a component, such as npm/lodash@<4.17.21.
        freeze: tenants and tenant/app to leave out.

    Raises:
        RequestError: the expression cannot be read, or no app has it in its own layers or may have it there.
        StoreError: Redis cannot be reached.
    """
    search = Search(ComponentStore(database), Expression.parse(expression), listed_max=_ALL, first_only=True)
    found = search.places(None, _ALL)
    own = {place.app for place in found.places if not place.in_base}
    of_base = {place.app for place in found.places} - own
    unknown = {*found.unknown, *found.incomplete} - own
    if not own and not unknown:
        told = f"; {len(of_base)} of {found.searched} apps have it from their base" if of_base else ""
        raise RequestError(
            f"No app has {expression} in its own layers{told}.",
            advice="buildfarm where lists apps with a component; a rollout to another base mends what bases bring.",
        )
    bases = {place.app: f"{place.component} {place.version} ({place.path})" for place in found.places if place.in_base}
    return [_app(name, freeze, {} if name in own | unknown else bases) for name in sorted(own | of_base | unknown)]


def _app(name: str, freeze: Collection[str], bases: Mapping[str, str]) -> App:
    if {name, name.partition("/")[0]} & {*freeze}:
        return App(name, AppState.FROZEN, reasons=("the campaign leaves it out",))
    if name in bases:
        why = f"its base brings {bases[name]}: a rollout to another base mends it"
        return App(name, AppState.FROZEN, reasons=(why,))
    return App(name)
