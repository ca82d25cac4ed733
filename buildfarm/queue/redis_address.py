"""Where Redis is: by itself, or behind Sentinels, which say what is the master now.

``redis[s]://[user:password@]host[:port][/database]`` or
``redis[s]+sentinel://[user:password@]host[:port][,host[:port]...]/master[/database][?sentinel_password=word]``
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from buildfarm.errors import SettingsError

_SENTINEL = "+sentinel"
_SENTINEL_PORT = 26379
_REDIS_PORT = 6379
_ADVICE = "The form is redis+sentinel://:password@host:26379,host:26379/master/0; see docs/settings.md."


@dataclass(frozen=True)
class RedisAddress:
    """A parsed ``BUILDFARM_REDIS_URL``; its text never shows a password."""

    url: str = field(repr=False)
    hosts: tuple[tuple[str, int], ...]
    tls: bool
    master: str = ""  # the name that Sentinels know it by; empty: there are none
    database: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    sentinel_password: str = field(default="", repr=False)
    ca: Path | None = None

    @property
    def place(self) -> str:
        """For people."""
        return ",".join(f"{host}:{port}" for host, port in self.hosts)

    @property
    def tls_options(self) -> dict[str, Any]:
        """redis-py's options for certificates; empty without TLS."""
        return {"ssl_ca_certs": str(self.ca)} if self.tls and self.ca else {}

    @property
    def credentials(self) -> dict[str, Any]:
        """Of Redis itself, as keywords."""
        return {"username": self.user or None, "password": self.password or None}

    @property
    def sentinel_options(self) -> dict[str, Any]:
        """For the connections to the Sentinels, which speak TLS where Redis does."""
        tls = {"ssl": True, **self.tls_options} if self.tls else {}
        word = {"password": self.sentinel_password} if self.sentinel_password else {}
        return {"socket_timeout": 2.0, "socket_connect_timeout": 2.0, **tls, **word}

    @property
    def broker_url(self) -> str:
        """The same for kombu, which needs a URL for each Sentinel."""
        if not self.master:
            return self.url
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@" if self.password else ""
        return ";".join(f"sentinel://{login}{host}:{port}/{self.database}" for host, port in self.hosts)

    @property
    def broker_options(self) -> dict[str, Any]:
        """Transport options that go with it."""
        return {"master_name": self.master, "sentinel_kwargs": self.sentinel_options} if self.master else {}


def parse_redis(url: str, ca: Path | None = None) -> RedisAddress:
    """Raises SettingsError if it cannot be read; the message does not hold the URL, which has a password."""
    parts = urlsplit(url)
    tls = parts.scheme.startswith("rediss")
    if parts.scheme not in ("redis", "rediss", f"redis{_SENTINEL}", f"rediss{_SENTINEL}"):
        raise SettingsError(
            "BUILDFARM_REDIS_URL is not a redis://, rediss:// or redis+sentinel:// address.", advice=_ADVICE
        )
    login, _, places = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    words = [word for word in parts.path.split("/") if word]
    behind = parts.scheme.endswith(_SENTINEL)
    if behind and not words:
        raise SettingsError("BUILDFARM_REDIS_URL names Sentinels but no master.", advice=_ADVICE)
    number = words[1:] if behind else words
    try:
        hosts = tuple(_host(place, _SENTINEL_PORT if behind else _REDIS_PORT) for place in places.split(","))
        database = int(number[0]) if number else 0
    except ValueError as error:
        raise SettingsError(
            "BUILDFARM_REDIS_URL has a port or database that is not a number.", advice=_ADVICE
        ) from error
    if not behind and len(hosts) != 1:
        raise SettingsError("BUILDFARM_REDIS_URL names several hosts, but no Sentinels.", advice=_ADVICE)
    return RedisAddress(
        url=url,
        hosts=hosts,
        tls=tls,
        master=words[0] if behind else "",
        database=database,
        user=unquote(user),
        password=unquote(password),
        sentinel_password=parse_qs(parts.query).get("sentinel_password", [""])[0],
        ca=ca,
    )


def _host(place: str, default: int) -> tuple[str, int]:
    host, colon, port = place.rpartition(":")
    return (host, int(port)) if colon else (place, default)
