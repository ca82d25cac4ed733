"""What an archived build costs and how fast it is found: ``python -m verify.archive [BUILDS]`` on a farm that is up.

Redis is one of its own; the registry is the local farm's, whose files must be readable. Builds end in waves, each of
which is archived: as if an hour lay between them.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from buildfarm.farm import Farm, open_farm
from buildfarm.settings import read_settings
from buildfarm.store.archive import History
from buildfarm.store.archive.archivist import Archivist
from buildfarm.store.archive.shelf import Shelf, repository_of
from buildfarm.telemetry import logger
from testkit.cluster.shell import run
from testkit.serving import serving
from testkit.table import Claims
from verify.archive.ended import APPS, end_builds, tenant_of
from verify.queue.small_redis import small_redis

BUILDS, EACH_WAVE = 100_000, 5000
LOOKS = 20


def main(arguments: list[str]) -> None:
    """Fills a farm's archive, and measures it."""
    claims = Claims("The archive")
    builds = int(arguments[0]) if arguments else BUILDS
    with ExitStack() as stack:
        url = stack.enter_context(small_redis("2gb"))
        namespace = f"bench-{secrets.token_hex(4)}:"
        settings = read_settings().model_copy(update={"redis_url": SecretStr(url), "namespace": namespace})
        farm = stack.enter_context(open_farm(settings))
        print(json.dumps(_measure(farm, builds, claims), indent=2), flush=True)
    claims.finish()


def _measure(farm: Farm, builds: int, claims: Claims) -> dict[str, Any]:
    keeper = Archivist(farm.history.catalog, farm.log_streams, farm.registry, 0, 0, 1e9, logger())
    empty = _memory(farm)
    compressed = 0
    began = time.monotonic()
    waves = max(1, round(builds / EACH_WAVE))
    for wave in range(waves):
        compressed += end_builds(farm, builds // waves, 1.6e9 + wave * 3600)
        full = max(empty, _memory(farm))
        while True:
            for place in keeper.due():
                keeper.archive(place)
            if keeper.looked_at_all:
                break
        keeper.tidy()
    seconds = time.monotonic() - began
    kept = list(farm.database.client.scan_iter(f"{farm.settings.namespace}build:*", count=1000))
    records = sum(farm.database.client.memory_usage(key) or 0 for key in kept)
    each = (_memory(farm) - empty - records) / builds
    claims.add("Redis memory of an archived build ≤ 200 bytes", f"{each:.0f} B", holds=each <= 200)
    files, size = _on_disk(farm)
    beside = (size - compressed) / builds
    claims.add("disk beside its compressed log ≤ 4 KiB", f"{beside:.0f} B", holds=beside <= 4096)
    claims.add("inodes ≤ 4", f"{files / builds:.3f}", holds=files / builds <= 4)
    return {
        "builds": builds, "redis_bytes": round(each, 1), "disk_bytes_beside_log": round(beside, 1),
        "compressed_log_bytes": round(compressed / builds), "inodes": round(files / builds, 4),
        "packs": len(farm.history.catalog.digests()), "seconds": round(seconds), "redis_bytes_full": full - empty,
        **_looks(farm, claims),
    }  # fmt: skip


def _looks(farm: Farm, claims: Claims) -> dict[str, float]:
    """The slowest of what people ask, in seconds."""
    app = f"{tenant_of(farm)}/app7"
    shelf = Shelf(farm.registry, repository_of(app))
    some = [row.id for pack in farm.history.catalog.packs(app) for row in shelf.index(pack).rows]

    def fresh() -> History:
        """As a process has it that has read nothing yet."""
        return History(farm.records, farm.log_streams, lambda: farm.quick_registry)

    asks: dict[str, Callable[[str], object]] = {
        "show": lambda build_id: fresh().get(build_id),
        "logs": lambda build_id: list(fresh().logs(build_id)),
        "page": lambda build_id: fresh().page(
            50, tenant=tenant_of(farm), app="app7", after=_position(farm.history, build_id)
        ),
    }
    figures = {}
    for name, ask in asks.items():
        chosen = random.sample(some, LOOKS)
        list(map(partial(_position, farm.history), chosen))  # where a page begins is known to who asks for it
        figures[f"{name}_seconds"] = _slowest(claims, name, [partial(ask, build_id) for build_id in chosen])
    return {**figures, **_looks_at_api(farm, claims)}


def _looks_at_api(farm: Farm, claims: Claims) -> dict[str, float]:
    """The same over HTTP; of one app after the other, so that no index was read before."""
    tenant = tenant_of(farm)
    figures = {}
    with serving(farm, BUILDFARM_REDIS_URL=farm.settings.redis_url.get_secret_value()) as api, ExitStack() as stack:
        client = stack.enter_context(api.as_(tenant, "read"))
        browser = stack.enter_context(httpx.Client(base_url=api.url, timeout=30, trust_env=False))
        browser.post("/sign-in", data={"token": api.token(tenant, "read", "submit")})

        def asked(of: httpx.Client, place: str) -> None:
            of.get(place).raise_for_status()

        places = {
            "api_show": (client, "/v1/builds/{id}"),
            "api_logs": (client, "/v1/builds/{id}/log"),
            "api_page": (client, "/v1/builds?app={app}&limit=50&after={after}"),
            "web_build": (browser, "/builds/{id}"),
            "web_page": (browser, f"/?app={tenant}/{{app}}&after={{after}}"),
        }
        for name, (of, place) in places.items():
            chosen = [_one_of(farm, f"app{number % APPS}") for number in range(LOOKS)]
            urls = [place.format(**found) for found in chosen]
            figures[f"{name}_seconds"] = _slowest(claims, name, [partial(asked, of, url) for url in urls])
    return figures


def _one_of(farm: Farm, app: str) -> dict[str, str]:
    """A build of an app and where the list goes on after it."""
    packs = farm.history.catalog.packs(f"{tenant_of(farm)}/{app}")
    shelf = Shelf(farm.registry, repository_of(f"{tenant_of(farm)}/{app}"))
    row = random.choice(shelf.index(random.choice(packs)).rows)
    return {"app": app, "id": row.id, "after": f"{row.submitted_at:.6f}:{row.id}"}


def _slowest(claims: Claims, name: str, asks: list[Callable[[], object]]) -> float:
    taken = []
    for ask in asks:
        started = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - started)
    middle = f"{statistics.median(taken):.3f} s, the slowest {max(taken):.3f} s"
    claims.add(f"{name} of an old build ≤ 0.3 s", middle, holds=max(taken) <= 0.3)
    return round(max(taken), 4)


def _position(history: History, build_id: str) -> str:
    return f"{history.get(build_id).submitted_at:.6f}:{build_id}"


def _memory(farm: Farm) -> int:
    found: Any = farm.database.client.info("memory")
    return int(found["used_memory"])


def _on_disk(farm: Farm) -> tuple[int, int]:
    """Inodes and bytes of the packs' repositories and blobs, as they are once replaced ones are collected."""
    mount = run("docker", "volume", "inspect", "--format={{.Mountpoint}}", "buildfarm-registry").strip()
    top = Path(mount) / "docker/registry/v2"
    paths = list((top / "repositories/archive" / tenant_of(farm)).rglob("*"))
    needed = farm.history.catalog.digests()
    links = [path for path in paths if path.name == "link" and "revisions" in path.parts]
    live = {f"sha256:{path.parent.name}" for path in links} & needed
    blobs: set[str] = set()
    for digest in live:
        content = json.loads((_blob(top, digest) / "data").read_bytes())
        blobs |= {digest, content["config"]["digest"], *(layer["digest"] for layer in content["layers"])}
    # Links of blobs that only replaced packs had, and empty folders of deleted manifests, go with the collection.
    paths = [path for path in paths if not ("revisions" in path.parts and path.is_dir() and not any(path.iterdir()))]
    paths = [path for path in paths if not ("_layers" in path.parts and _named(path) not in {"", *blobs})]
    found = [*paths, *(part for digest in blobs for part in (_blob(top, digest), _blob(top, digest) / "data"))]
    return len(found), sum(path.lstat().st_blocks * 512 for path in found)


def _named(path: Path) -> str:
    """The blob that a link is for; empty for a folder above the links."""
    folder = path.parent if path.name == "link" else path
    return f"sha256:{folder.name}" if len(folder.name) == 64 else ""


def _blob(top: Path, digest: str) -> Path:
    name = digest.removeprefix("sha256:")
    return top / "blobs/sha256" / name[:2] / name


if __name__ == "__main__":
    os.environ.setdefault("BUILDFARM_LOG_LEVEL", "warning")
    main(sys.argv[1:])
