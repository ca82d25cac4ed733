"""Observability: logs, metrics and traces.

Every part of the farm logs. Metrics and traces need packages that only some extras install, so they are imported from
their own modules.
"""

from buildfarm.telemetry.logs import Logger, logger, set_up_logging

__all__ = ["Logger", "logger", "set_up_logging"]
