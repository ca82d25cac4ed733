"""The pack of a push: git takes it while it comes in, checks each object, and keeps it for this push alone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from buildfarm.api.routes.git_push.git import SECONDS, Git, GitError
from buildfarm.errors import InternalError, SourceError, TooLargeError

# As large hosts do: what old programs wrote and nothing trips over is let in.
_MILD = ("badTimezone", "missingSpaceBeforeDate", "zeroPaddedFilemode", "zeroPaddedDate")
_IN_SLOW = "pack exceeds maximum allowed size"


class Pack:
    """A pack on its way into ``git``'s repository: `take` reads it, `finish` checks it, `close` ends git."""

    def __init__(self, git: Git, shallow: Sequence[str], limit_bytes: int) -> None:
        self._git, self._limit_bytes = git, limit_bytes
        try:
            git.prepare()
        except GitError as error:
            raise InternalError(f"git cannot make a repository for the push: {error}.") from error
        if shallow:
            (git.repository / "shallow").write_text("".join(f"{commit}\n" for commit in shallow))
        strict = f"--strict={','.join(f'{name}=warn' for name in _MILD)}"
        limit = f"--max-input-size={limit_bytes}"
        self._process = git.start(
            "index-pack", "--stdin", strict, limit, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )

    def take(self, pieces: Iterable[bytes]) -> int:
        """Read the whole pack and return its size. A client does not read before it has sent all, so what git refuses
        is read to its end, up to the limit once more. Raises what ``pieces`` does, and TooLargeError.
        """
        total_bytes = 0
        pipe = self._process.stdin
        for piece in pieces:
            total_bytes += len(piece)
            if total_bytes > 2 * self._limit_bytes:
                raise self.too_large()
            if pipe is not None:
                try:
                    pipe.write(piece)
                except OSError:  # git has ended, and `finish` says why
                    with suppress(OSError):
                        pipe.close()
                    pipe = None
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
        return total_bytes

    def finish(self) -> None:
        """Wait until git has checked all objects. Raises SourceError and TooLargeError."""
        try:
            code = self._process.wait(SECONDS)
        except subprocess.TimeoutExpired as error:
            raise TooLargeError(f"git did not finish with the push in {SECONDS} s.", advice=_smaller()) from error
        if code == 0:
            return
        said = self._git.errors()
        if _IN_SLOW in said:
            raise self.too_large()
        if "memory" in said:
            raise TooLargeError("git needs more memory for the push than the farm gives it.", advice=_smaller())
        raise SourceError(f"git refused what was pushed: {said}.", advice="Run git fsck, and push again.")

    def too_large(self) -> TooLargeError:
        """The refusal of a push over the limit."""
        return TooLargeError(
            f"The push has more than {self._limit_bytes:,} bytes, files and history together.", advice=_smaller()
        )

    def close(self) -> None:
        """End git if it runs."""
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def _smaller() -> str:
    return "Push without history: git push FARM $(git commit-tree -m deploy HEAD^{tree}):refs/heads/main."


def after(first: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces, with the bytes before them that were read already."""
    if first:
        yield first
    yield from pieces
