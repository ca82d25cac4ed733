"""The API as a process: makes everything once, serves until it is asked to stop."""

from __future__ import annotations

import gc
import signal
import socket
import sys
from contextlib import ExitStack
from importlib import import_module

import anyio
import uvicorn

from buildfarm import LazyModule
from buildfarm.access import Audit, Rates, Tokens
from buildfarm.api.application import make_application
from buildfarm.api.collector import make_standing
from buildfarm.api.live.feeds import Feeds
from buildfarm.api.metrics import ApiMetrics
from buildfarm.api.readiness import Readiness
from buildfarm.api.services import Services
from buildfarm.api.slots import Slots, Turns
from buildfarm.api.uploads import Uploads
from buildfarm.api.webhooks.delivery import make_deliveries
from buildfarm.api.webhooks.dispatcher import Dispatcher
from buildfarm.errors import SetupError
from buildfarm.farm import open_farm
from buildfarm.settings import Settings
from buildfarm.telemetry import logger
from buildfarm.telemetry.listening import listen
from buildfarm.telemetry.serving import serve_metrics
from buildfarm.telemetry.traces import open_tracer

_MOVES_MAX = 8  # of images to other bases, at once; each has one of the threads in which all else is answered
_WAITS_MAX, _TOKEN_WAITS_MAX = 64, 16  # for changes of images; in threads of their own
_LISTS_MAX, _HOLDER_LISTS_MAX = 32, 8  # for components; one at a time, which can take a second and 270 MB
_GRACE_SECONDS = 5  # live streams end then; their clients come back and go on where they were


def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT. Raises SetupError if the port is taken."""
    import_late()
    with ExitStack() as resources:
        farm = resources.enter_context(open_farm(settings))
        metrics = ApiMetrics()
        metrics.registry.register(make_standing(farm))
        tracer = open_tracer(settings, "buildfarm-api")
        resources.callback(tracer.close)
        feeds = Feeds(settings)
        metrics.followers.set_function(lambda: feeds.followers)
        uploads = Uploads(settings)
        metrics.uploads.set_function(lambda: uploads.slots.used)
        services = Services(
            farm=farm,
            tokens=Tokens(farm.database),
            audit=Audit(farm.database),
            rates=Rates(farm.database),
            feeds=feeds,
            metrics=metrics,
            tracer=tracer,
            uploads=uploads,
            streams=Slots("live streams", total_max=settings.api_streams_max, token_max=settings.api_token_streams_max),
            moves=Slots("moves", total_max=_MOVES_MAX, token_max=_MOVES_MAX),
            waits=Slots("waits for changes", total_max=_WAITS_MAX, token_max=_TOKEN_WAITS_MAX),
            wait_threads=anyio.CapacityLimiter(_WAITS_MAX),
            lists=_turns("requests for components"),
            searches=_turns("searches for components"),
            readiness=Readiness(farm),
        )
        dispatcher = Dispatcher(settings, make_deliveries(farm, metrics))
        listener = resources.enter_context(_listen(settings))
        resources.enter_context(serve_metrics(metrics.registry, settings.metrics_host, settings.api_metrics_port))
        config = uvicorn.Config(
            make_application(services),
            log_config=None,
            access_log=False,
            server_header=False,
            # X-Forwarded-For and -Proto count only if they come from these networks; of several addresses the
            # right-most one outside of them is the client's, since everything left of it could be made up.
            proxy_headers=True,
            forwarded_allow_ips=settings.api_trusted_proxies.split(","),
            timeout_graceful_shutdown=_GRACE_SECONDS,
            h11_max_incomplete_event_size=32 * 1024,
        )
        dispatcher.start()
        resources.callback(dispatcher.close)
        # uvicorn sends itself the signal again when it has ended; by default that would end us before all is closed.
        signal.signal(signal.SIGTERM, lambda *_: None)
        # What was imported is never garbage: collections of what requests leave no longer look at all of it.
        gc.collect()
        gc.freeze()
        logger().info("api_listens", host=settings.api_host, port=settings.api_port)
        uvicorn.Server(config).run(sockets=[listener])


def _turns(kind: str) -> Turns:
    return Turns(Slots(kind, total_max=_LISTS_MAX, token_max=_HOLDER_LISTS_MAX, holder="tenant or token"))


def import_late() -> None:
    """Import what the farm's methods otherwise import when they are first called.

    No request waits for it then, and a process that outlives an upgrade of its files does not mix versions.
    """
    while missing := _stood_in_for() - sys.modules.keys():
        for name in sorted(missing):
            import_module(name)


def _stood_in_for() -> set[str]:
    """The modules that imported ones use late; the command line's are not needed to serve."""
    own = [
        module
        for name, module in sys.modules.items()
        if name.partition(".")[0] == "buildfarm" and not name.startswith("buildfarm.cli")
    ]
    return {found.__name__ for module in own for found in vars(module).values() if isinstance(found, LazyModule)}


def _listen(settings: Settings) -> socket.socket:
    try:
        listener = listen(settings.api_host, settings.api_port, backlog=1024)
    except OSError as error:
        raise SetupError(
            f"The API cannot listen on {settings.api_host}:{settings.api_port}: {error.strerror}.",
            advice="Choose another with BUILDFARM_API_PORT.",
        ) from error
    # asyncio does so only for sockets that name their protocol, which this one does not. Without it, the second part
    # of an answer waits until the client has confirmed the first: 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
