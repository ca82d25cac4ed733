"""A command that writes a stream: fed, drained and, whatever happens, ended."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, cast

from buildfarm.errors import NodeError

# How long a command may live on after it closed its output.
_END_SECONDS = 10

# The whole environment of the command: no locale and no TAR_OPTIONS of the node may reach the digest.
_ENVIRONMENT = {"LC_ALL": "C", "PATH": os.defpath}


_NAMES_AT_ONCE = 4096


@dataclass(frozen=True)
class Producer:
    """A running command, whose standard input and error are each served by a thread."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]
    fed: Future[None]
    complaints: Future[deque[bytes]]

    def finish(self) -> None:
        """Call at the end of its output. Raises NodeError unless it got all its input, ended with 0 and was silent."""
        try:
            self.fed.result()
            status = self.process.wait(_END_SECONDS)
        except OSError as error:
            raise NodeError(f"The tree cannot be listed: {error.strerror}.") from error
        except subprocess.TimeoutExpired as error:
            raise NodeError("tar closed its output, but did not end.") from error
        complaint = b"".join(self.complaints.result()).decode(errors="replace").strip()
        if status or complaint:
            raise NodeError(f"The tree cannot be archived: tar ended with {status} and {complaint or 'no message'!r}.")


@contextlib.contextmanager
def produce(argv: Sequence[str], names: Iterable[str] | None, *, pipe_bytes: int) -> Iterator[Producer]:
    """Start the command; leaving the block kills it, joins its threads and closes its pipes, in this order.

    ``names`` go to its standard input, each with a NUL behind it. ``pipe_bytes`` is how far it may work ahead of
    the reader. Raises NodeError if it cannot be started.
    """
    with _start(argv, has_input=names is not None) as process, ThreadPoolExecutor(2, "layer-tar") as threads:
        output = cast("IO[bytes]", process.stdout)
        # The node may refuse a larger pipe (pipe-user-pages-soft); then the usual one will do.
        with contextlib.suppress(OSError):
            fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, pipe_bytes)
        try:
            # Both pipes are served all the time: a full one would stop the command, and with it the stream.
            yield Producer(
                process,
                output,
                threads.submit(_feed, process.stdin, names or ()),
                threads.submit(_last_line, cast("IO[bytes]", process.stderr)),
            )
        finally:
            process.kill()


def _start(argv: Sequence[str], *, has_input: bool) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_ENVIRONMENT,
        )
    except OSError as error:
        raise NodeError(f"{argv[0]} cannot be started: {error.strerror}.") from error


def _feed(pipe: IO[bytes] | None, names: Iterable[str]) -> None:
    if pipe is None:
        return
    # A command that ends early breaks the pipe, and its exit status says why.
    with contextlib.suppress(BrokenPipeError), pipe:
        waiting = iter(names)
        while batch := list(itertools.islice(waiting, _NAMES_AT_ONCE)):
            pipe.write(os.fsencode("\0".join(batch)) + b"\0")


def _last_line(pipe: IO[bytes]) -> deque[bytes]:
    # tar's own last words say nothing; the reason stands before them
    return deque((line for line in pipe if b"Exiting with failure status" not in line), maxlen=1)
