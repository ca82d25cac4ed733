"""What a build that ran out of memory can do: the next size, if its tenant may use it and a node serves it."""

from __future__ import annotations

from buildfarm.errors import OutOfMemoryError, StoreError
from buildfarm.model import Request
from buildfarm.queue.names import size_of
from buildfarm.queue.sizes import memory_text, sizes_of
from buildfarm.store.keeping.sizes import SizeRules
from buildfarm.telemetry import logger


def with_next_size(error: OutOfMemoryError, request: Request, rules: SizeRules) -> OutOfMemoryError:
    """The same error, which names the memory of the build's size, and the next size if there is one for it."""
    if not rules.settings.sizes:
        return error
    size = sizes_of(rules.settings).get(size_of(request))
    try:
        larger = rules.next_larger(request.tenant, size_of(request))
    except (StoreError, ValueError) as problem:  # the failure is still the app's, and must be written anyway
        logger().warning("next_size_unknown", reason=f"{type(problem).__name__}: {problem}"[:500])
        larger = ""
    advice = f"Build again with --size {larger}, or let it do less at once." if larger else error.advice
    had = f" ({memory_text(size.memory_bytes)}, size {size.name})" if size else ""
    told = OutOfMemoryError(f"The build needed more memory than its limit{had}.", advice=advice)
    told.reports = error.reports
    return told
