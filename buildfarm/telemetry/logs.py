"""Logs: one format for everything a process says, Celery's, uvicorn's and Python's own records too."""

from __future__ import annotations

import logging
import sys
from collections import deque
from functools import cached_property
from typing import TYPE_CHECKING

from buildfarm import LazyModule
from buildfarm.settings import Settings
from buildfarm.telemetry.masking import mask_event

if TYPE_CHECKING:
    import structlog
    from structlog.typing import FilteringBoundLogger, Processor

    Logger = FilteringBoundLogger
else:
    Logger = object
    structlog = LazyModule("structlog")  # most commands log nothing

# What these say at level info is about every single request or message.
_CHATTY = ("httpx", "httpcore", "urllib3", "docker", "celery", "kombu", "opentelemetry", "uvicorn.access")


def set_up_logging(settings: Settings) -> None:
    """Columns on a terminal, else one JSON object a line; secrets are masked in both."""
    _unused.append(settings)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(settings))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def logger(**bound: object) -> Logger:
    """A logger that adds these fields to every line."""
    while _unused:
        _configure(_unused.popleft())
    log: Logger = structlog.get_logger(**bound)
    return log


_unused: deque[Settings] = deque(maxlen=1)  # those that `set_up_logging` was given last, until the first logger is made


class _Formatter(logging.Formatter):
    """The formatter of these settings, made for the first record."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    def format(self, record: logging.LogRecord) -> str:
        return self._made.format(record)

    @cached_property
    def _made(self) -> logging.Formatter:
        return structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_shared(), structlog.stdlib.ExtraAdder(), structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_ending(self._settings)],
        )


def _configure(settings: Settings) -> None:
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _ending(settings: Settings) -> list[Processor]:
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    # Without the variables of each frame: they are long, and among them are secrets that look like anything else.
    traceback = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return (
        [mask_event, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [structlog.processors.ExceptionRenderer(traceback), mask_event, structlog.processors.JSONRenderer()]
    )
