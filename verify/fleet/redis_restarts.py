"""Redis is killed in the middle of waves, and started again: a rollout on a separate Redis and a separate registry."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from buildfarm.farm import open_farm
from buildfarm.releases.rollouts.rules.states import Phase
from buildfarm.settings import read_settings
from buildfarm.telemetry import logger
from testkit.cluster.shell import run as command
from testkit.registry.deployed import Deployed
from testkit.registry.own import registry_on, storage_folder
from testkit.serving import free_port
from testkit.table import Claims
from verify.fleet.moving import KILLED_AT, Moving, until_it_answers
from workers.upkeep.tag_repair import TagRepair

APPS = 60
_REPAIR_SECONDS = 60.0


def run(claims: Claims) -> None:
    """Moves the apps while Redis comes and goes."""
    with ExitStack() as stack:
        name = f"verify-redis-{secrets.token_hex(4)}"
        address = stack.enter_context(_redis(name))
        settings = read_settings()
        folder = stack.enter_context(storage_folder())
        registry = stack.enter_context(registry_on(folder, settings.docker_url))
        changes = {"redis_url": address, "registry_url": f"http://{registry.host}", "builder": "", "layer_facts": False}
        own = type(settings).model_validate({**settings.model_dump(), **changes})
        farm = stack.enter_context(open_farm(own))
        deployed = Deployed(farm)
        first, second = (deployed.base(f"2026-01-0{day}T00:00:00Z") for day in (1, 2))
        farm.promote_builder(first)
        names = [f"shop/a{number}" for number in range(APPS)]
        before = {name: deployed.app(name, first, label="shared") for name in names}
        move = Moving(farm, name)
        move.go(second)
        _tell(claims, move, deployed, before)


@contextmanager
def _redis(name: str) -> Iterator[str]:
    """An empty Redis of the farm's image, which keeps each write as the farm's own does; it can be killed by name."""
    port, image = free_port(), command("docker", "inspect", "--format={{.Image}}", "buildfarm-redis").strip()
    command(
        "docker", "run", "--detach", f"--name={name}", f"--publish=127.0.0.1:{port}:6379", "--volume=/data",
        "--workdir=/data", "--entrypoint=redis-server", image, "--protected-mode", "no", "--appendonly", "yes",
        "--appendfsync", "always", "--maxmemory", "256mb", "--maxmemory-policy", "noeviction",
    )  # fmt: skip
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        command("docker", "rm", "--force", "--volumes", name, check=False)


def _tell(claims: Claims, move: Moving, deployed: Deployed, before: dict[str, str]) -> None:
    until_it_answers(move.farm)
    repair = TagRepair(move.farm.records, move.farm.registry, logger())
    repaired = time.monotonic() + _REPAIR_SECONDS
    wanted = {name: move.farm.records.tag_target(f"apps/{name}") for name in before}
    while deployed.tags([*before]) != wanted and time.monotonic() < repaired:
        repair.repair()
    tags = deployed.tags([*before])
    moved = sum(tags[name] == wanted[name] != before[name] for name in before)
    twice = len(move.announced) - len(set(move.announced))
    waves = sum(phase in (Phase.CANARY, Phase.WAVE) for phase in move.killed)
    claims.add(
        f"Redis is killed {len(KILLED_AT)} times in mid-wave: the rollout goes on, each app is announced once",
        f"{move.phase}: {moved} of {APPS} moved, {len(move.announced)} announced, {twice} twice; killed in"
        f" {', '.join(move.killed)}, {move.failures} calls failed, {move.seconds:.0f} s",
        move.phase is Phase.COMPLETE and moved == APPS == len(move.announced) and not twice
        and waves == len(KILLED_AT) and move.failures > 0,
    )  # fmt: skip
    budgets = sorted({budget for _, budget in move.seen})
    claims.add(
        "and no more apps are unreported or unhealthy at once than the wave's budget",
        ", ".join(f"at most {max(apps for apps, of in move.seen if of == budget)} of {budget}" for budget in budgets),
        move.is_within_budget,
    )
