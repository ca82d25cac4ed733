"""Logs: one format for everything a process says, Celery's, uvicorn's and Python's own records too."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from buildfarm.settings import Settings
from buildfarm.telemetry.masking import mask_event

Logger = FilteringBoundLogger

# What these say at level info is about every single request or message.
_CHATTY = ("httpx", "httpcore", "urllib3", "docker", "celery", "kombu", "opentelemetry", "uvicorn.access")


def set_up_logging(settings: Settings) -> None:
    """Columns on a terminal, else one JSON object a line; secrets are masked in both."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    # Without the variables of each frame: they are long, and among them are secrets that look like anything else.
    traceback = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    ending: list[Processor] = (
        [mask_event, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [structlog.processors.ExceptionRenderer(traceback), mask_event, structlog.processors.JSONRenderer()]
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
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def logger(**bound: object) -> Logger:
    """A logger that adds these fields to every line."""
    log: Logger = structlog.get_logger(**bound)
    return log
