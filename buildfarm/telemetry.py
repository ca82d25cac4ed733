"""Logs and metrics: the set-up of every process, and each metric the farm has."""

from __future__ import annotations

import logging
import sys

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from structlog.typing import FilteringBoundLogger, Processor

from buildfarm.model import Phase, State
from buildfarm.settings import Settings

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 900)

Logger = FilteringBoundLogger


class Metrics:
    """What a node tells Prometheus. Labels come from closed sets; a tenant or a build is never one."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.builds = Counter(
            "buildfarm_builds", "Attempts that ended on this node", ["outcome"], registry=self.registry
        )
        self.phase_seconds = Histogram(
            "buildfarm_phase_seconds", "Time of a build's phase", ["phase"], buckets=_SECONDS, registry=self.registry
        )
        self.uploaded_bytes = Counter(
            "buildfarm_uploaded_bytes", "Layer bytes that were sent to the registry", registry=self.registry
        )
        self.running = Gauge("buildfarm_builds_running", "Builds that run on this node now", registry=self.registry)
        self.slots = Gauge("buildfarm_slots", "Builds that may run at once on this node", registry=self.registry)
        self.accepting = Gauge(
            "buildfarm_node_accepting", "1 where this node takes builds, else 0", registry=self.registry
        )
        # A series that appears with its first event hides that event from rate().
        for outcome in (*(state for state in State if state.final), "given_back", "lost"):
            self.builds.labels(outcome)
        for phase in Phase:
            self.phase_seconds.labels(phase)


def set_up_logging(settings: Settings) -> None:
    """One format for everything that is logged, Celery's records too: columns on a terminal, else JSON lines."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    ending: list[Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if console
        else [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    # What these say at level info is about every single request or message.
    for name in ("httpx", "httpcore", "urllib3", "docker", "celery", "kombu"):
        logging.getLogger(name).setLevel(logging.WARNING)


def logger(**bound: object) -> Logger:
    """A logger that adds these fields to every line."""
    log: Logger = structlog.get_logger(**bound)
    return log
