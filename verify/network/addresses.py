"""A farm whose Redis, registry and API have addresses of IPv6 alone, and an API that listens on both kinds."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from buildfarm.client import Client
from buildfarm.errors import BuildfarmError
from buildfarm.farm import Farm
from buildfarm.model import BuildRequest, State
from testkit.builds import write_files
from testkit.cluster.proxy import slow_proxy
from testkit.queue.farm import fresh_farm, node
from testkit.serving import free_port, serving
from testkit.table import Claims

_TENANT = "ipv6"


def tell(claims: Claims) -> None:
    """What a user does, all of it by IPv6; then both ways to one API."""
    with ExitStack() as stack:
        farm, variables = _by_ipv6(stack)
        api = stack.enter_context(serving(farm, host="::1", **variables))
        claims.add(
            "with all addresses of IPv6, a source is uploaded, built, followed and listed",
            *_used(farm, api.token(_TENANT, "read", "submit"), api.url),
        )
        metrics = httpx.get(api.metrics_url, trust_env=False).status_code
        claims.add("metrics are served there", f"{metrics}", metrics == 200)
    with fresh_farm() as farm, serving(farm, host="::") as api:
        found = {host: _answers(api.url.replace("[::]", host)) for host in ("127.0.0.1", "[::1]")}
        claims.add("an API that listens on :: answers on both kinds", str(found), set(found.values()) == {204})


def _by_ipv6(stack: ExitStack) -> tuple[Farm, dict[str, str]]:
    """The local farm's Redis and registry through ports that only IPv6 reaches, and a simulated node."""
    with fresh_farm() as usual:
        redis, registry = (
            urlsplit(text) for text in (usual.settings.redis_url.get_secret_value(), usual.settings.registry_url)
        )
    ports = []
    for service in (redis, registry):
        ports.append(free_port())
        stack.enter_context(slow_proxy(("::1", ports[-1]), (service.hostname or "", service.port or 0), 0))
    redis_url = redis._replace(netloc=f":{redis.password}@[::1]:{ports[0]}").geturl()
    registry_url = f"http://[::1]:{ports[1]}"
    farm = stack.enter_context(fresh_farm(redis_url=SecretStr(redis_url), registry_url=registry_url))
    variables = {
        "BUILDFARM_REDIS_URL": redis_url,
        "BUILDFARM_REGISTRY_URL": registry_url,
    }
    stack.enter_context(node(farm, 1, 1, **variables))
    return farm, variables


def _used(farm: Farm, token: str, url: str) -> tuple[str, bool]:
    with tempfile.TemporaryDirectory() as folder, Client(url, token) as client:
        try:
            source, _ = client.pack(write_files(Path(folder), {"Procfile": "web: true\n"}), _TENANT)
            build = client.submit(BuildRequest(tenant=_TENANT, app="web", source=source, cached_result=False))
            ended = list(client.follow(build.id))[-1]
            listed = [one.id for one in client.recent()]
        except BuildfarmError as error:
            return error.message, False
    state = getattr(ended, "state", None)
    return f"{state} by {url}; the registry has {farm.has_source(source)}", state is State.SUCCEEDED and listed == [
        build.id
    ]


def _answers(url: str) -> int:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).status_code
    except httpx.TransportError:
        return 0
