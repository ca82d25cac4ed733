"""Pushes that forges report: ``python -m verify.git.webhooks`` on a farm whose Redis and registry are up.

A thousand deliveries of ten apps come at once, each commit's four times and in any order, and the process that acts on
them is killed on the way. Then come forged, repeated, old, foreign and huge ones.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise

import httpx

from buildfarm.farm import Farm
from buildfarm.model import Build
from buildfarm.sources.pushes.hook import HookView, NewHook, Provider
from testkit.builds import farm_alone, wait_for
from testkit.queue import pushes as sent
from testkit.queue.pushes import ZEROS, FakeForge, commit, encoded, fake_forge, github_push, signed, standard
from testkit.serving import Api, free_port, serving
from testkit.table import Claims

APPS, COMMITS, TIMES = 10, 25, 4
AT_ONCE = 32
ANSWER_SECONDS = 3.0  # with 32 at a time on a busy machine; GitHub waits 10 s
DONE_SECONDS = 120.0
TENANT = "shop"
BODY_BYTES = 6 * 1024 * 1024

Delivery = tuple[HookView, sent.Json]


def main() -> None:
    claims = Claims("Push webhooks")
    variables = {"BUILDFARM_WEBHOOK_NETWORKS": "127.0.0.0/8", "BUILDFARM_API_BUILDS_PER_MINUTE": "100000"}
    with farm_alone("verify-hooks") as farm, fake_forge() as forge:
        farm.set_limits(TENANT, waiting=10_000)
        port = free_port()
        with serving(farm, port=port, **variables) as first, serving(farm, **variables) as second:
            hooks = [make(farm, f"app-{number}", first, forge) for number in range(APPS)]
            many(claims, farm, hooks, [first, second])
            statuses(claims, forge)
            refused(claims, farm, second)
    claims.finish()


def make(farm: Farm, app: str, api: Api, forge: FakeForge | None = None, **fields: str) -> HookView:
    """A hook of an app, whose address is this process's."""
    values = {"provider": "github", "repository": sent.GITHUB, "run_policy": "all", **fields}
    own = {"api": forge.url, "status_token": "t0ken"} if forge else {}
    return farm.make_hook(NewHook.model_validate({"tenant": TENANT, "app": app, "page": api.url, **values, **own}))


def chain(app: int) -> list[str]:
    """The commits of an app's branch, the first of which makes it."""
    return [ZEROS, *(commit(1000 * app + number) for number in range(1, COMMITS + 1))]


def many(claims: Claims, farm: Farm, hooks: Sequence[HookView], apis: Sequence[Api]) -> None:
    """All at once, to two processes, of which one is killed in the middle."""
    deliveries = [
        (hook, github_push(*pair)) for number, hook in enumerate(hooks) for pair in pairwise(chain(number))
    ] * TIMES
    random.Random(39).shuffle(deliveries)
    killed, count = threading.Event(), len(deliveries)

    started = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool, httpx.Client(timeout=30, trust_env=False) as client:

        def one(numbered: tuple[int, Delivery]) -> tuple[int, float]:
            number, delivery = numbered
            if number == count * 3 // 4:
                killed.set()
                apis[0].process.kill()
            return deliver(client, delivery, [api.url for api in (apis[1:] if killed.is_set() else apis)])

        answers = list(pool.map(one, enumerate(deliveries)))
    sending = time.monotonic() - started
    seconds = sorted(took for _, took in answers)
    median, most = seconds[count // 2], seconds[int(count * 0.99)]
    figure = (
        f"{count} in {sending:.1f} s, {AT_ONCE} at a time; median {1000 * median:.0f} ms, 99 % {1000 * most:.0f} ms"
    )
    taken = all(status == 202 for status, _ in answers)
    claims.add(
        f"each of {count:,} deliveries is answered with 202, 99 % within {ANSWER_SECONDS:g} s",
        figure,
        taken and most <= ANSWER_SECONDS,
    )
    wait_for(lambda: len(builds(farm)) >= APPS * COMMITS, DONE_SECONDS, lambda: len(builds(farm)))
    ended = time.monotonic() - started
    order = {hook.app: [build.request.source.version for build in builds(farm, hook.app)] for hook in hooks}
    right = sum(order[hook.app] == chain(number)[1:] for number, hook in enumerate(hooks))
    total = sum(map(len, order.values()))
    claims.add(
        "one build for each commit, none lost and none twice, though the process that acts is killed",
        f"{total} builds of {APPS * COMMITS} commits after {ended:.1f} s", total == APPS * COMMITS,
    )  # fmt: skip
    claims.add("each app's builds are in the order of its pushes", f"{right} of {APPS} apps", right == APPS)


def deliver(client: httpx.Client, delivery: Delivery, urls: Sequence[str]) -> tuple[int, float]:
    """Sends a delivery, as a forge that repeats it at another process if the connection breaks: status and seconds."""
    hook, payload = delivery
    body = encoded(payload)
    headers = signed(hook.provider, hook.secret or "", body)
    for url in (*random.sample(urls, len(urls)), urls[-1]):
        started = time.monotonic()
        try:
            answer = client.post(f"{url}/v1/hooks/{hook.id}", content=body, headers=headers)
        except httpx.TransportError:
            continue
        return answer.status_code, time.monotonic() - started
    return 0, 0.0


def builds(farm: Farm, app: str | None = None) -> list[Build]:
    """All builds of the tenant, or of an app, the oldest first."""
    found: list[Build] = []
    after: str | None = ""
    while after is not None:
        page, after = farm.page(200, tenant=TENANT, app=app, after=after)
        found += page
    return found[::-1]


def statuses(claims: Claims, forge: FakeForge) -> None:
    """No node is there, so each commit is pending, once."""

    def shown() -> list[str]:
        with forge.lock:
            return [path.rpartition("/")[2] for path, _, _ in forge.got]

    _wait(lambda: len(set(shown())) >= APPS * COMMITS)
    told = shown()
    doubled = len(told) - len(set(told))
    figure = f"{len(set(told))} commits, {doubled} reported twice"
    # At least once: the process that is killed may have sent one and not said so.
    claims.add(
        "each commit is reported as pending, with a link to its page",
        figure,
        len(set(told)) == APPS * COMMITS and doubled <= APPS,
    )


def refused(claims: Claims, farm: Farm, api: Api) -> None:
    """What nobody who has the secret sends now."""
    github, gitlab = make(farm, "github", api), make(farm, "gitlab", api, provider="gitlab", repository=sent.GITLAB)
    push, push_of_gitlab = github_push(ZEROS, commit(1)), sent.gitlab_push(ZEROS, commit(1))
    old = standard(gitlab.secret or "", encoded(push_of_gitlab), "m", int(time.time()) - 600)
    tries: list[tuple[str, int, Callable[[], httpx.Response]]] = [
        ("a forged signature", 401, lambda: post(github, push, signed("github", "whsec_guessed", encoded(push)))),
        ("no signature", 401, lambda: post(github, push, {})),
        ("a body that was changed", 401, lambda: post(github, push, signed("github", github.secret or "", b"{}"))),
        ("a timestamp of 10 min ago", 401, lambda: post(gitlab, push_of_gitlab, old)),
        ("another repository's push", 422, lambda: own(github, github_push(ZEROS, commit(1), name="octo/other"))),
        ("a body of 6 MB", 413, lambda: post(github, {"x": "y" * BODY_BYTES}, {})),
    ]  # fmt: skip
    before = api.rss_bytes()
    for name, status, send in tries:
        answer = send()
        named = any(hook.repository in answer.text for hook in (github, gitlab))
        silent = not any((hook.secret or "?") in answer.text for hook in (github, gitlab))
        detail = answer.json()
        figure = f"{answer.status_code}: {detail['detail'][-90:]} {detail['advice']}"
        claims.add(
            f"{name} is refused with the repository and what to do",
            figure,
            answer.status_code == status and named and silent,
        )
    grown = (api.rss_bytes() - before) / 1024**2
    claims.add("the API does not keep huge bodies", f"{grown:.0f} MB more", grown < 32)
    first, again = own(github, push), own(github, push)
    figure = f"{first.json()['result']}, then {again.json()['result']}"
    claims.add("a delivery that is repeated counts once", figure, figure == "new, then seen")
    _wait(lambda: bool(builds(farm, "github")))
    counts = [len(builds(farm, app)) for app in ("github", "gitlab")]
    claims.add("nothing that was refused is built", f"{counts[0]} and {counts[1]} builds", counts == [1, 0])


def own(hook: HookView, payload: sent.Json) -> httpx.Response:
    return post(hook, payload, signed(Provider(hook.provider), hook.secret or "", encoded(payload)))


def post(hook: HookView, payload: sent.Json, headers: dict[str, str]) -> httpx.Response:
    return httpx.post(hook.url, content=encoded(payload), headers=headers, timeout=30, trust_env=False)


def _wait(check: Callable[[], bool]) -> None:
    """Returns when it is true, or when it should have been: the claim after it says what is missing."""
    with suppress(AssertionError):
        wait_for(check, DONE_SECONDS)


if __name__ == "__main__":
    main()
