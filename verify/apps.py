"""An app that builds elsewhere builds here: ``python -m verify.apps`` on a farm that is up.

FAMILY and APP in the environment choose a part.

Every app of ``tests/apps`` is built, run and queried, changed, built again on its cache and queried again, and built
once more elsewhere without a cache, which must give the same image. Without the app's own scripts, the second compile
takes at most a quarter of the first, or next to nothing. Then all apps of a family are built as if they were one, each
on the cache of another: that must give the same images too. An app whose second compile took longer beside other builds
is timed again at the end, on a node that builds nothing else.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

from rich.console import Console
from rich.table import Table

from testkit.apps.compile_times import AGAIN_SHARE, QUICK_SECONDS, CompileTime
from testkit.apps.samples import App, read_apps
from testkit.apps.trials import Outcome, try_app, try_on_others
from testkit.builds import Builds, farm_with_node

SLOTS = 2
AT_A_TIME = 4  # more than there are slots: while some are built, others are run


def main() -> None:
    apps = read_apps(family=os.environ.get("FAMILY", ""), name=os.environ.get("APP", ""))
    if not apps:
        sys.exit("There is no such app in tests/apps: name a folder by FAMILY= and a file by APP=, without .toml.")
    started = time.monotonic()
    with farm_with_node("apps", BUILDFARM_SLOTS=str(SLOTS)) as built, ThreadPoolExecutor(AT_A_TIME) as pool:
        outcomes = list(pool.map(lambda app: _try(built, app), apps))
        list(pool.map(lambda chain: try_on_others(built, *chain), chains(outcomes)))
    outcomes = try_slow_alone(outcomes)
    for family, some in groupby(outcomes, lambda outcome: outcome.app.family):
        print_family(family, list(some))
    print(summary(outcomes, time.monotonic() - started))
    sys.exit(1 if any(outcome.problems for outcome in outcomes) else 0)


def try_slow_alone(outcomes: list[Outcome]) -> list[Outcome]:
    """The same, but those that fell short in nothing but time are tried anew, one after the other."""
    if not any(map(only_slow, outcomes)):
        return outcomes
    with farm_with_node("apps", BUILDFARM_SLOTS="1") as built:
        return [_try_alone(built, outcome) if only_slow(outcome) else outcome for outcome in outcomes]


def only_slow(outcome: Outcome) -> bool:
    """Whether it is the second compile's time alone that falls short."""
    return outcome.slow and len(outcome.problems) == 1


def _try_alone(built: Builds, outcome: Outcome) -> Outcome:
    alone = _try(built, outcome.app)
    alone.on_others = outcome.on_others
    return alone


def chains(outcomes: list[Outcome]) -> Iterator[tuple[list[Outcome], str]]:
    """The apps of each family that gave an image, in as many rows as there are slots; each row has a name."""
    for family, some in groupby(outcomes, lambda outcome: outcome.app.family):
        built = [outcome for outcome in some if outcome.result]
        for slot in range(SLOTS):
            yield built[slot::SLOTS], f"{family}-in-turn-{slot}"


def _try(built: Builds, app: App) -> Outcome:
    outcome = try_app(built, app, timed=True)
    seconds = f" ({_seconds(outcome.cold)} s)" if outcome.cold else ""
    print(f"{outcome.verdict}: {app.label}{seconds}: {' '.join([*outcome.problems, outcome.told])}", flush=True)
    return outcome


def print_family(family: str, outcomes: list[Outcome]) -> None:
    """A row for each app."""
    columns = ("app", "cold s", "scripts s", "again s", "share", "cache", "twice", "answer", "verdict")
    table = Table(*columns, title=family, title_justify="left")
    for outcome in outcomes:
        told = outcome.problems[0].partition("\n")[0] if outcome.problems else outcome.told
        verdict = f"[red]{outcome.verdict}[/red]" if outcome.problems else outcome.verdict
        table.add_row(outcome.app.name, *times(outcome), outcome.cache, outcome.twice, told, verdict)
    Console(width=160).print(table)


def times(outcome: Outcome) -> tuple[str, str, str, str]:
    """Both compiles without the app's own scripts, what these took in the first one, and the second's share."""
    cold, again = outcome.cold, outcome.again
    scripts = f"{cold.scripts_seconds:.1f}" if cold and outcome.app.scripts else ""
    share = f"{again.share_of(cold):.0%}" if cold and again else ""
    return _seconds(cold), scripts, _seconds(again), share


def summary(outcomes: list[Outcome], seconds: float) -> str:
    """How many of them hold, and what two builds of one app cost."""
    counts = {
        word: sum(outcome.verdict == word for outcome in outcomes) for word in ("holds", "falls short", "not run")
    }
    pairs = [(outcome.cold, outcome.again) for outcome in outcomes if outcome.cold and outcome.again]
    quick = sum(again.share_of(cold) <= AGAIN_SHARE for cold, again in pairs)
    told = ", ".join(f"{count} {word}" for word, count in counts.items())
    return (
        f"{len(outcomes)} apps: {told}; without their own scripts {quick} of {len(pairs)} compile again in at most "
        f"{AGAIN_SHARE:.0%} of the first time, or else {QUICK_SECONDS} s is enough; "
        f"{sum(o.on_others for o in outcomes)} of {sum(o.result is not None for o in outcomes)} give the same image on "
        f"another app's cache; {seconds:.0f} s"
    )


def _seconds(time: CompileTime | None) -> str:
    return "" if time is None else f"{time.farm_seconds:.1f}"


if __name__ == "__main__":
    main()
