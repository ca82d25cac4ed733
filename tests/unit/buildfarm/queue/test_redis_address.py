"""Where Redis is: the forms of its address."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildfarm.errors import SettingsError
from buildfarm.queue.redis_address import parse_redis


def test_redis_by_itself_is_handed_on_as_it_is():
    where = parse_redis("redis://:p%40ss@db:7000/3?socket_keepalive=1")
    assert where.broker_url == "redis://:p%40ss@db:7000/3?socket_keepalive=1"
    assert (where.place, where.password, where.database, where.master) == ("db:7000", "p@ss", 3, "")


def test_sentinels_are_a_url_each_for_the_queue():
    where = parse_redis("redis+sentinel://app:p%40ss@a:1,b/farm/2?sentinel_password=s", Path("ca.crt"))
    assert where.hosts == (("a", 1), ("b", 26379))
    assert where.broker_url == "sentinel://app:p%40ss@a:1/2;sentinel://app:p%40ss@b:26379/2"
    assert where.broker_options["master_name"] == "farm"
    assert where.broker_options["sentinel_kwargs"]["password"] == "s"
    assert where.tls_options == {}


def test_certificates_are_checked_at_redis_and_at_its_sentinels():
    where = parse_redis("rediss+sentinel://a/farm", Path("ca.crt"))
    assert where.tls_options == {"ssl_ca_certs": "ca.crt"}
    assert where.sentinel_options["ssl"] is True
    assert where.sentinel_options["ssl_ca_certs"] == "ca.crt"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://a", "not a redis://"),
        ("redis+sentinel://:secret@a,b", "no master"),
        ("redis+sentinel://:secret@a:x/farm", "not a number"),
        ("redis://:secret@a/zero", "not a number"),
        ("redis://:secret@a,b/0", "several hosts"),
    ],
)
def test_what_cannot_be_meant_is_refused_without_its_password(url, words):
    with pytest.raises(SettingsError, match=words) as caught:
        parse_redis(url)
    assert "secret" not in f"{caught.value} {caught.value.advice}"


def test_it_shows_no_password():
    assert "secret" not in repr(parse_redis("redis+sentinel://:secret@a/farm?sentinel_password=secret"))
