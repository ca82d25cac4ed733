"""Builds that ended, written into Redis without a node that ran them."""

from __future__ import annotations

import gzip
import json
import random
import secrets
from typing import Any

from buildfarm.farm import Farm
from buildfarm.oci.digest import Digest

APPS = 50
LINES = 12
WORDS = [line.encode().hex()[:8] for line in map(str, range(4000))]


def end_builds(farm: Farm, builds: int, began: float) -> int:
    """Of the hour from then on, as the last step of a build leaves them; returns the bytes of their compressed logs."""
    client, key, tenant = farm.database.client, farm.database.key, tenant_of(farm)
    compressed = 0
    pipeline = client.pipeline(transaction=False)
    for number in range(builds):
        app = f"app{number % APPS}"
        at = began + number * 3600 / builds
        build_id = secrets.token_hex(8)
        lines = _log()
        compressed += len(gzip.compress("\n".join(lines).encode()))
        record = _record(build_id, tenant, app, at)
        image = Digest(json.loads(record["result"])["digest"]).hex
        pipeline.hset(key("build", build_id), mapping=record)
        pipeline.hset(
            key("images", str(int(image[:3], 16))), f"{image[3:16]} {tenant}", f"{build_id} {int(at / 86400)}"
        )
        pipeline.lpush(key("trend", f"{tenant}/{app}"), f"{build_id} succeeded 29.00 4000001")
        pipeline.ltrim(key("trend", f"{tenant}/{app}"), 0, 19)
        pipeline.zadd(key("apps"), {f"{tenant}/{app}": at})
        pipeline.zadd(key("apps", tenant), {f"{tenant}/{app}": at})
        pipeline.zadd(key("builds"), {build_id: at})
        pipeline.zadd(key("builds", tenant), {build_id: at})
        pipeline.zadd(key("app", f"{tenant}/{app}"), {build_id: at})
        for line in lines:
            pipeline.xadd(key("build", build_id, "log"), {"a": "1", "p": "compile", "t": line})
        pipeline.zadd(key("logs", "ended"), {f"{tenant} {build_id} 9000": at + 30})
        pipeline.zadd(key("logs", "ended", tenant), {f"{tenant} {build_id} 9000": at + 30})
        if number % 500 == 499:
            pipeline.execute()
    pipeline.execute()
    return compressed


def _record(build_id: str, tenant: str, app: str, at: float) -> dict[Any, Any]:
    image, layer = Digest.of(secrets.token_bytes(8)), Digest.of(secrets.token_bytes(8))
    below = [Digest.of(str(number).encode()) for number in range(4)]  # the builder's
    layers = [
        {
            "digest": d,
            "diff_id": d,
            "size_bytes": 1_000_000,
            "uncompressed_bytes": None,
            "origin": "builder",
            "reused": True,
        }
        for d in below
    ] + [
        {
            "digest": layer,
            "diff_id": Digest.of(layer.encode()),
            "size_bytes": 1,
            "uncompressed_bytes": 2,
            "origin": "app",
            "reused": False,
        }
    ]
    result = {
        "repository": f"apps/{tenant}/{app}", "digest": image, "tag": "latest", "layers": layers,
        "process_types": {"web": "node server.js"}, "uploaded_bytes": 1,
        "phase_seconds": {"prepare": random.random(), "compile": random.random()}, "node": "node-1", "attempt": 1,
    }  # fmt: skip
    request = {
        "build_class": "interactive", "run_policy": "all", "tenant": tenant, "app": app, "env": {"NODE_ENV": ""},
        "source": {"kind": "artifact", "repository": f"sources/{tenant}", "digest": Digest.of(layer.encode())},
    }  # fmt: skip
    return {
        "id": build_id, "state": "succeeded", "request": json.dumps(request), "result": json.dumps(result),
        "queue": "build.interactive.3", "attempt": "1", "submitted_at": f"{at:.6f}", "started_at": f"{at + 1:.6f}",
        "finished_at": f"{at + 30:.6f}", "place": f"{tenant} {app}", "target": f"apps/{tenant}/{app}",
        "holder": f"1 {secrets.token_hex(16)}", "node": "node-1", "phase": "publish", "log_lines": str(LINES),
    }  # fmt: skip


def _log() -> list[str]:
    return [" ".join(random.choices(WORDS, k=8)) for _ in range(LINES)]


def tenant_of(farm: Farm) -> str:
    """Whose all these builds are."""
    return farm.settings.namespace.strip(":")
