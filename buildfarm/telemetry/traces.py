"""Traces: one build is one trace, reported by every process that touched it, if an OTLP endpoint is set.

The ids of a build's trace and of its root span are made of the build's id, so nothing has to travel with the build for
its spans to meet: the process that submits, the node that builds and a node that builds again write to the same trace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from buildfarm.errors import SetupError
from buildfarm.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_CLOSE_MILLISECONDS = 3000
_forced: ContextVar[int] = ContextVar("span_id", default=0)


class Tracer:
    """Writes spans; one without a provider writes none and costs nothing."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("buildfarm") if provider else None

    def add(
        self, build_id: str, name: str, started: float, ended: float, attributes: Mapping[str, Any] | None = None
    ) -> None:
        """A span that is over already; times are seconds since the epoch."""
        self._write(build_id, name, started, ended, attributes or {}, root=False)

    def add_root(
        self, build_id: str, name: str, started: float, ended: float, attributes: Mapping[str, Any] | None = None
    ) -> None:
        """The build as a whole, written once, by the process that saw its end."""
        self._write(build_id, name, started, ended, attributes or {}, root=True)

    def close(self) -> None:
        """Sends what waits."""
        if self._provider is not None:
            self._provider.force_flush(_CLOSE_MILLISECONDS)
            self._provider.shutdown()

    def _write(
        self, build_id: str, name: str, started: float, ended: float, attributes: Mapping[str, Any], *, root: bool
    ) -> None:
        if self._tracer is None:
            return
        from opentelemetry import trace  # noqa: PLC0415 - installed only with the extra `traces`

        trace_id, root_id = ids_of(build_id)
        # A parent of the right trace; the root's own is an id that no span has, which makes it the top.
        above = trace.SpanContext(trace_id, root_id, is_remote=True, trace_flags=trace.TraceFlags(1))
        forced = _forced.set(root_id if root else 0)
        try:
            span = self._tracer.start_span(
                name,
                context=trace.set_span_in_context(trace.NonRecordingSpan(above)),
                start_time=_nanoseconds(started),
                attributes={"buildfarm.build": build_id, **attributes},
            )
        finally:
            _forced.reset(forced)
        if "error" in attributes:
            span.set_status(trace.StatusCode.ERROR, str(attributes["error"]))
        span.end(_nanoseconds(ended))


def ids_of(build_id: str) -> tuple[int, int]:
    """The trace id (16 bytes) and the root span's id (8 bytes) of a build; neither is ever 0."""
    digest = hashlib.sha256(build_id.encode()).digest()
    return int.from_bytes(digest[:16], "big") or 1, int.from_bytes(digest[16:24], "big") or 1


def open_tracer(settings: Settings, service: str) -> Tracer:
    """A tracer for this process, named ``service`` in the traces. Raises SetupError if the extra is missing."""
    if not settings.otlp_endpoint:
        return Tracer()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415
    except ImportError as error:
        raise SetupError(
            "BUILDFARM_OTLP_ENDPOINT is set, and the packages that write traces are not installed.",
            advice="Run: pip install 'buildfarm[traces]'; or leave the setting empty.",
        ) from error

    class Ids(RandomIdGenerator):
        def generate_span_id(self) -> int:
            return _forced.get() or super().generate_span_id()

    provider = TracerProvider(
        id_generator=Ids(),
        resource=Resource({"service.name": service, "service.instance.id": settings.node_id}),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(endpoint=f"{settings.otlp_endpoint.rstrip('/')}/v1/traces", timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracer(provider)


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
