"""How the page describes builds to people. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from buildfarm.model import Build, Fault, State
from buildfarm.queue.estimate import Estimate
from buildfarm.sources.address import ArtifactSource, GitSource, Source
from buildfarm.telemetry.masking import mask
from buildfarm.telemetry.units import size

_ENDINGS = {
    State.HELD: "Waiting for another build of its tenant to end.",
    State.SUPERSEDED: "Replaced by a newer build.",
    State.CANCELLED: "Cancelled by its owner.",
}


def in_words(build: Build) -> str:
    """What happened, in one sentence."""
    told = _ENDINGS.get(build.state, "")
    match build.state:
        case State.FAILED if build.failure:
            told = build.failure.message
        case State.SUCCEEDED if build.result_of:
            told = "Taken from an earlier build with the same input; nothing was built."
        case State.SUCCEEDED if build.result and build.result.warning:
            told = build.result.warning
        case State.SUCCEEDED if build.result:
            moved = build.result.uploaded_bytes
            told = f"Image ready; {size(moved)} uploaded." if moved else "Image ready; nothing had to be uploaded."
        case State.RUNNING if build.cancel_requested:
            told = "It is being cancelled."
        case State.RUNNING:
            told = f"On {build.node}." if build.attempt < 2 else f"On {build.node}, attempt {build.attempt}."
        case State.QUEUED:
            told = "Waiting for a retry." if build.attempt else "Waiting for a free slot."
    return told


def whose_fault(build: Build) -> str:
    """A failure's headline."""
    if build.failure is None:
        return ""
    return "The app could not be built" if build.failure.fault is Fault.APP else "The farm failed, not the app"


def source_in_words(source: Source) -> str:
    """Where the code came from."""
    if isinstance(source, ArtifactSource):
        return f"sent, {source.digest[:19]}"
    if isinstance(source, GitSource):
        return f"{mask(source.url)} at {source.ref}"
    return mask(source.url)


def duration(seconds: float) -> str:
    """A time span for people."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


def progress_in_words(found: Estimate) -> str:
    """How far a build is, by the app's last builds."""
    if found.late:
        return f"takes longer than the usual {duration(found.total_seconds)}"
    if found.left_seconds == found.total_seconds:
        return f"usually takes {duration(found.total_seconds)}"
    left = max(1, round(found.left_seconds))
    return f"{min(99, round(100 * found.done))} %, about {duration(left) if left >= 60 else f'{left} s'} left"


def moment(seconds: float) -> str:
    """A point in time."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
