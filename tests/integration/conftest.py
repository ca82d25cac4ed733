"""Real Redis, registry and engine of the local farm. Each test has its own namespace in Redis."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing

import docker
import pytest

from buildfarm.errors import BuildfarmError
from buildfarm.farm import Farm, open_farm
from buildfarm.settings import Settings, read_settings
from testkit.builds import Builds, build_node, builds_network, empty_namespace
from workers.engine import open_engine


@pytest.fixture(scope="session")
def services() -> Iterator[Settings]:
    """Settings of the local farm. Without one, tests are skipped at home and fail where services are promised."""
    settings = read_settings()
    try:
        with open_farm(settings) as farm:
            farm.registry.ping()
            farm.records.queued_count()
    except BuildfarmError as error:
        if os.environ.get("BUILDFARM_TESTS_NEED_SERVICES"):
            raise
        pytest.skip(f"{error.message} Start them: buildfarm up --no-worker")
    with builds_network(settings, f"buildfarm-test-{os.getpid()}") as name:
        yield settings.model_copy(update={"sandbox_network": name})


@pytest.fixture
def client(services: Settings) -> Iterator[docker.DockerClient]:
    """Of the farm's engine."""
    with closing(open_engine(services.docker_url)) as client:
        yield client


@pytest.fixture(scope="session")
def registry_url(services: Settings) -> str:
    return services.registry_url


@pytest.fixture
def settings(services: Settings) -> Iterator[Settings]:
    """The same services, and a namespace that nobody else uses and that is empty afterwards."""
    own = services.model_copy(update={"namespace": f"test-{uuid.uuid4().hex[:8]}:"})
    yield own
    empty_namespace(own)


@pytest.fixture
def farm(settings: Settings) -> Iterator[Farm]:
    with open_farm(settings) as farm:
        yield farm


@pytest.fixture(scope="module")
def built(services: Settings) -> Iterator[Builds]:
    """A farm with one build node, shared by a module's tests: ``built(directory)`` gives the ended build."""
    own = services.model_copy(update={"namespace": f"test-{uuid.uuid4().hex[:8]}:"})
    with ExitStack() as stack:
        stack.callback(empty_namespace, own)
        farm = stack.enter_context(open_farm(own))
        node = stack.enter_context(build_node(farm))
        yield Builds(farm, node)


@pytest.fixture(scope="module")
def module_farm(services: Settings) -> Iterator[Farm]:
    """A farm without a node, in its own namespace, shared by a module's tests."""
    own = services.model_copy(update={"namespace": f"test-{uuid.uuid4().hex[:8]}:"})
    with ExitStack() as stack:
        stack.callback(empty_namespace, own)
        yield stack.enter_context(open_farm(own))
