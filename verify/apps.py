"""An app that builds elsewhere builds here: ``python -m verify.apps`` on a farm that is up.

FAMILY and APP in the environment choose a part.

Every app of ``tests/apps`` is built, run and queried, changed, built again on its cache and queried again, and built
once more elsewhere without a cache, which must give the same image.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import groupby

from rich.console import Console
from rich.table import Table

from buildfarm.farm import open_farm
from buildfarm.settings import read_settings
from testkit.app_trials import Outcome, try_app
from testkit.apps import App, read_apps
from testkit.builds import Builds, build_node, builds_network, empty_namespace

SLOTS = 2
AT_A_TIME = 4  # more than there are slots: while some are built, others are run
AGAIN_SHARE = 0.25


def main() -> None:
    apps = read_apps(family=os.environ.get("FAMILY", ""), name=os.environ.get("APP", ""))
    if not apps:
        sys.exit("There is no such app in tests/apps: name a folder by FAMILY= and a file by APP=, without .toml.")
    started = time.monotonic()
    with node() as built, ThreadPoolExecutor(AT_A_TIME) as pool:
        outcomes = list(pool.map(lambda app: _try(built, app), apps))
    for family, some in groupby(outcomes, lambda outcome: outcome.app.family):
        print_family(family, list(some))
    print(summary(outcomes, time.monotonic() - started))
    sys.exit(1 if any(outcome.problems for outcome in outcomes) else 0)


@contextmanager
def node() -> Iterator[Builds]:
    """The farm with a node, a network and a namespace that nobody else uses."""
    name = f"apps-{uuid.uuid4().hex[:8]}"
    with ExitStack() as stack:
        network = stack.enter_context(builds_network(read_settings(), f"buildfarm-{name}"))
        settings = read_settings().model_copy(update={"namespace": f"{name}:", "sandbox_network": network})
        stack.callback(empty_namespace, settings)
        farm = stack.enter_context(open_farm(settings))
        yield Builds(farm, stack.enter_context(build_node(farm, BUILDFARM_SLOTS=str(SLOTS))))


def _try(built: Builds, app: App) -> Outcome:
    outcome = try_app(built, app)
    seconds = f" ({_seconds(outcome.cold_seconds)} s)" if outcome.cold_seconds is not None else ""
    print(f"{outcome.verdict}: {app.label}{seconds}: {' '.join([*outcome.problems, outcome.told])}", flush=True)
    return outcome


def print_family(family: str, outcomes: list[Outcome]) -> None:
    """A row for each app."""
    table = Table("app", "cold s", "again s", "twice", "answer", "verdict", title=family, title_justify="left")
    for outcome in outcomes:
        told = outcome.problems[0].partition("\n")[0] if outcome.problems else outcome.told
        verdict = f"[red]{outcome.verdict}[/red]" if outcome.problems else outcome.verdict
        app = outcome.app
        table.add_row(
            app.name, _seconds(outcome.cold_seconds), _seconds(outcome.again_seconds), _twice(outcome), told, verdict
        )
    Console(width=150).print(table)


def summary(outcomes: list[Outcome], seconds: float) -> str:
    """How many of them hold, and what two builds of one app cost."""
    counts = {
        word: sum(outcome.verdict == word for outcome in outcomes) for word in ("holds", "falls short", "not run")
    }
    shares = [o.again_seconds / o.cold_seconds for o in outcomes if o.again_seconds is not None and o.cold_seconds]
    quick = sum(share <= AGAIN_SHARE for share in shares)
    told = ", ".join(f"{count} {word}" for word, count in counts.items())
    return (
        f"{len(outcomes)} apps: {told}; {quick} of {len(shares)} compile again in at most {AGAIN_SHARE:.0%} "
        f"of the first time; {seconds:.0f} s"
    )


def _twice(outcome: Outcome) -> str:
    if outcome.app.varies:
        return "varies"
    return "" if outcome.cold_seconds is None or outcome.problems else "equal"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f}"


if __name__ == "__main__":
    main()
