"""One collection over the API at a time: a lock in Redis, for no file is shared."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from redis.exceptions import LockError, RedisError
from redis.lock import Lock

from buildfarm.errors import SetupError
from buildfarm.store import Database

_LOCK_SECONDS = 300.0  # after which another collection may begin if this process dies
_RENEW_SECONDS = 60.0


@contextmanager
def alone(database: Database) -> Iterator[Callable[[], None]]:
    """Gives what is to be called before each step: it raises SetupError if another collection may have begun.

    Raises SetupError if another one runs, and StoreError.
    """
    lock = database.client.lock(database.key("collecting"), timeout=_LOCK_SECONDS, thread_local=False)
    with database.failures():
        if not lock.acquire(blocking=False):
            raise SetupError(
                "Another process is collecting this farm's registry over its API.",
                advice="Try again when it is done, or five minutes after it died.",
            )
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(lock, ended), daemon=True)
    renewing.start()
    try:
        yield lambda: _check(database, lock)
    finally:
        ended.set()
        renewing.join()
        with database.failures(), suppress(LockError):  # it may be another one's by now
            lock.release()


def _renew(lock: Lock, ended: threading.Event) -> None:
    while not ended.wait(_RENEW_SECONDS):
        with suppress(RedisError):  # `_check` says so
            lock.reacquire()


def _check(database: Database, lock: Lock) -> None:
    with database.failures():
        if not lock.owned():
            raise SetupError(
                "This collection of the registry was held up for so long that another one may have begun.",
                advice="Run it again.",
            )
