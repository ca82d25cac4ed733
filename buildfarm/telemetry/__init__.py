"""What the farm tells of itself: logs, metrics and traces."""

from buildfarm.telemetry.logs import Logger, logger, set_up_logging
from buildfarm.telemetry.metrics import Metrics
from buildfarm.telemetry.serving import Probes, serve_metrics
from buildfarm.telemetry.traces import Tracer, open_tracer

__all__ = ["Logger", "Metrics", "Probes", "Tracer", "logger", "open_tracer", "serve_metrics", "set_up_logging"]
