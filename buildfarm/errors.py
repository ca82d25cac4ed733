"""Every failure of the farm, as one tree; each class is one decision of the code that catches it.

BuildfarmError
├── AppError                what the customer sent cannot be built; never retried
│   ├── SourceError             app.source
│   ├── DetectError             app.detect
│   ├── CompileError            app.compile
│   ├── RecipeError             app.recipe
│   ├── SmokeError              app.smoke
│   ├── DeadlineError           app.timeout
│   ├── OutOfMemoryError        app.out_of_memory
│   └── TooLargeError           app.too_large
├── FarmError               the farm could not do its work; retried by the farm itself
│   ├── NodeError               farm.node
│   │   ├── NodeLostError           farm.node_lost
│   │   └── NodeStopped             farm.node_stopped
│   ├── RegistryError           farm.registry
│   │   └── RegistryFullError       farm.registry_full: come back after retry_after_seconds
│   ├── StoreError              farm.redis
│   │   ├── StoreFullError          farm.redis_full: come back after retry_after_seconds
│   │   └── UnconfirmedError        farm.unconfirmed: accepted, but too few replicas of Redis have it
│   ├── ExpiredError            farm.expired
│   ├── NoBaseError             farm.base
│   ├── ClassRemovedError       farm.class_removed
│   ├── UnsignableError         farm.unsignable
│   ├── VersionError            farm.version
│   ├── NotReadYetError         farm.not_read_yet: come back after retry_after_seconds
│   ├── ApiError                farm.api
│   └── InternalError           farm.internal
├── RequestError            request.invalid: refused before there is a build
│   ├── QueueFullError          request.queue_full: come back after retry_after_seconds
│   ├── StorageLimitError       request.storage_full: the tenant has used up its bytes in the registry
│   ├── NotRebasableError       request.not_rebasable: the app's image must stay on its base, or be built again
│   ├── NotServedError          request.not_served: no build node is there for the build's size; one may come
│   ├── ConflictError           request.conflict: this idempotency key stands for another request
│   └── TooLateError            request.too_late: the build publishes its image and will succeed
├── NotFoundError           request.not_found
├── SignatureError          image.unsigned: an image has no valid signature
├── SetupError              setup: a part of the farm cannot start; says what to do
│   └── SettingsError           setup.settings: a setting cannot be read or has no meaning
└── Interruption            not a failure: the build was ended on purpose
    ├── Cancelled               its owner asked for it
    └── LeaseLost               another attempt owns the build now; nothing more may be written
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class BuildfarmError(Exception):
    """One clear sentence, and what to do next.

    ``code`` is stable and made for scripts; ``advice`` is a sentence for people, and may be empty.
    """

    code: ClassVar[str] = "internal"
    default_advice: ClassVar[str] = ""

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice or self.default_advice
        self.reports: Mapping[str, Mapping[str, bool | float | str]] = {}  # what buildpacks' bin/report say about it

    def __str__(self) -> str:
        return f"{self.message} {self.advice}".rstrip()


class AppError(BuildfarmError):
    """The app's fault: the same source fails again, so the farm does not retry."""

    code = "app"


class SourceError(AppError):
    """The source cannot be fetched, verified or unpacked."""

    code = "app.source"


class DetectError(AppError):
    """No buildpack takes the app, or one that was asked for refuses it."""

    code = "app.detect"


class CompileError(AppError):
    """A buildpack ended with an error."""

    code = "app.compile"


class RecipeError(AppError):
    """The recipe of an image build cannot be read, or asks for what is not there."""

    code = "app.recipe"


class SmokeError(AppError):
    """An image was built, and does not do in its smoke test what it must."""

    code = "app.smoke"


class DeadlineError(AppError):
    """The build took longer than its limit, or was silent for too long."""

    code = "app.timeout"


class OutOfMemoryError(AppError):
    """The build needed more memory than its limit."""

    code = "app.out_of_memory"


class TooLargeError(AppError):
    """The source, the built app or its log is larger than its limit."""

    code = "app.too_large"


class FarmError(BuildfarmError):
    """The farm's fault: another attempt, perhaps on another node, may well succeed."""

    code = "farm"
    default_advice = "This is the farm's fault, not the app's; the farm tries again by itself."


class NodeError(FarmError):
    """The node, its Docker engine or its disk failed under the build."""

    code = "farm.node"


class NodeLostError(NodeError):
    """The node that ran the build went silent."""

    code = "farm.node_lost"


class NodeStopped(NodeError):  # noqa: N818 - nothing went wrong
    """The node was stopped before the build ended; this attempt does not count."""

    code = "farm.node_stopped"


class RegistryError(FarmError):
    """The registry cannot be reached, or answers with an error."""

    code = "farm.registry"


class RegistryFullError(RegistryError):
    """The registry's disk is nearly full; builds that run still publish."""

    code = "farm.registry_full"
    default_advice = "Try again later. The farm's operator must make room: docs/runbooks/registry-grows.md."
    retry_after_seconds = 300.0


class StoreError(FarmError):
    """Redis cannot be reached, or answers with an error."""

    code = "farm.redis"


class StoreFullError(StoreError):
    """Redis has no memory left for this; what the farm has accepted goes on."""

    code = "farm.redis_full"
    default_advice = (
        "Try again in a minute. If that does not help, the farm's operator must give Redis more memory, or logs less:"
        " docs/runbooks/redis-memory.md."
    )
    retry_after_seconds = 60.0


class UnconfirmedError(StoreError):
    """The build was accepted, but too few replicas of Redis have it: a failover now could lose it."""

    code = "farm.unconfirmed"
    default_advice = "Send the request again with the same idempotency key: it finds the same build."
    build_id: str = ""


class ExpiredError(FarmError):
    """The build waited longer than its request allowed; it is not built."""

    code = "farm.expired"
    default_advice = "Submit it again with a longer time to wait; buildfarm queue shows how long builds wait now."


class NoBaseError(FarmError):
    """The build waited for a base that no node has; it is not built."""

    code = "farm.base"
    default_advice = (
        "Point its app's channel to a base that nodes can pull (buildfarm channels list), and submit it again."
    )


class ClassRemovedError(FarmError):
    """The build waited in a class that the farm's settings no longer name; it is not built."""

    code = "farm.class_removed"
    default_advice = "Submit it again: without a class, or with one that buildfarm queue lists."


class UnsignableError(FarmError):
    """The signer refused to sign a build's image; the app's tag stays where it was."""

    code = "farm.unsignable"
    default_advice = (
        "Build it again. If that does not help, the farm's operator must look at its node: docs/signing.md."
    )


class VersionError(FarmError):
    """A record in Redis was written by a version of the farm that this process cannot read."""

    code = "farm.version"
    default_advice = "Upgrade the farm's older processes; buildfarm nodes lists each node's version."


class NotReadYetError(FarmError):
    """Nodes are still to read layers of the image."""

    code = "farm.not_read_yet"
    default_advice = "A node reads them within minutes: try again then."
    retry_after_seconds = 10.0


class ApiError(FarmError):
    """The farm's API cannot be reached, or answers with what is none of its answers."""

    code = "farm.api"


class InternalError(FarmError):
    """A bug in the farm."""

    code = "farm.internal"


class RequestError(BuildfarmError):
    """The request itself is not valid; no build was made of it."""

    code = "request.invalid"


class QueueFullError(RequestError):
    """The tenant has as many builds waiting as it may."""

    code = "request.queue_full"

    def __init__(self, message: str, *, advice: str = "", retry_after_seconds: float) -> None:
        super().__init__(message, advice=advice)
        self.retry_after_seconds = retry_after_seconds


class StorageLimitError(RequestError):
    """The tenant has as many bytes in the registry as it may."""

    code = "request.storage_full"


class NotRebasableError(RequestError):
    """The app's newest image cannot be put on that base; the message says why."""

    code = "request.not_rebasable"


class NotServedError(RequestError):
    """No build node serves the size of the build now."""

    code = "request.not_served"


class ConflictError(RequestError):
    """The idempotency key was used for another request, or a tag is not where the caller saw it."""

    code = "request.conflict"


class TooLateError(RequestError):
    """The build publishes its image: it can no longer be cancelled, and will succeed."""

    code = "request.too_late"
    default_advice = "buildfarm show reports its image within moments."


class NotFoundError(BuildfarmError):
    """There is no such build."""

    code = "request.not_found"


class SignatureError(BuildfarmError):
    """An image has no valid signature by a key that was given."""

    code = "image.unsigned"
    default_advice = "Do not run it. docs/signing.md lists the reasons why an image of the farm can be unsigned."


class SetupError(BuildfarmError):
    """A part of the farm cannot start on this machine as it is set up."""

    code = "setup"


class SettingsError(SetupError):
    """A setting cannot be read or has no meaning."""

    code = "setup.settings"


class Interruption(BuildfarmError):  # noqa: N818 - not an error, but a decision
    """The build ends here without a failure."""

    code = "interrupted"


class Cancelled(Interruption):
    """The owner of the build cancelled it."""

    code = "cancelled"


class LeaseLost(Interruption):
    """A newer attempt owns the build; this one must no longer write anything."""

    code = "lease_lost"


BUILD_ERRORS: dict[str, type[AppError] | type[FarmError]] = {
    kind.code: kind
    for kind in (
        SourceError,
        DetectError,
        CompileError,
        RecipeError,
        SmokeError,
        DeadlineError,
        OutOfMemoryError,
        TooLargeError,
        NodeError,
        NodeLostError,
        NodeStopped,
        RegistryError,
        StoreError,
        StoreFullError,
        UnconfirmedError,
        ExpiredError,
        NoBaseError,
        ClassRemovedError,
        UnsignableError,
        VersionError,
        InternalError,
    )
}
