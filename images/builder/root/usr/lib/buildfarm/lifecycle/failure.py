"""What ends the lifecycle, with the exit code that the specification gives it (platform.md, "Exit Codes")."""

from __future__ import annotations

UNSUPPORTED_API = 12
NONE_DETECTED = 20
NONE_DETECTED_ONE_FAILED = 21
DETECT_FAILED = 22
BUILD_FAILED = 51
BUILD_WRONG = 50
LAUNCH_FAILED = 82


class LifecycleError(Exception):
    """One clear sentence and an exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
