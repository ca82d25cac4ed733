"""A farm in a company's network: nothing leads out of its sandboxes but a proxy."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from buildfarm.config_vars.build_variables import BuildVariable
from buildfarm.farm import Farm, open_farm
from buildfarm.settings import Settings
from localfarm import network
from testkit.builds import empty_namespace, gateway_of
from testkit.cluster.forward_proxy import ForwardProxy, forward_proxy
from workers.engine import open_engine
from workers.sandbox.network import builds_options


def variables(**values: str) -> dict[str, BuildVariable]:
    """As a farm takes them."""
    return {name: BuildVariable(value=value) for name, value in values.items()}


@contextmanager
def company_farm(settings: Settings, user: str = "", password: str = "") -> Iterator[tuple[Farm, ForwardProxy]]:
    """A farm without nodes whose builds know the proxy from the farm's build variables."""
    with ExitStack() as stack:
        closed = stack.enter_context(_closed_network(settings))
        own = settings.model_copy(update={"namespace": f"test-{uuid.uuid4().hex[:8]}:", "sandbox_network": closed})
        stack.callback(empty_namespace, own)
        farm = stack.enter_context(open_farm(own))
        proxy = stack.enter_context(forward_proxy(gateway_of(closed), user, password))
        farm.set_variables(variables(HTTP_PROXY=proxy.url, https_proxy=proxy.url, NO_PROXY="localhost"))
        yield farm, proxy


@contextmanager
def _closed_network(settings: Settings) -> Iterator[str]:
    """A network for sandboxes out of which nothing leads: only this machine is there."""
    name = f"buildfarm-test-{uuid.uuid4().hex[:8]}"
    with closing(open_engine(settings.docker_url)) as client:
        client.networks.create(
            name, driver="bridge", options=builds_options(), labels={network.LABEL: name}, internal=True
        )
        try:
            yield name
        finally:
            network.remove_networks(client, name)
