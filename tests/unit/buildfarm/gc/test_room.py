"""What a tenant has in the registry: how it is counted, and the refusal with its table."""

from __future__ import annotations

import subprocess

import pytest

from buildfarm.errors import StoreError
from buildfarm.gc.room import SentBytes, over
from buildfarm.gc.storage import Storage
from buildfarm.store.keeping.usage import KINDS, decode, fields_of


def test_a_kind_is_what_was_found_and_what_came_since():
    fields = fields_of("shop")
    values = dict.fromkeys(fields)
    values |= {"shop:apps": "100", "shop:apps:new": "20", "shop:caches:new": "7", "shop:sources:new": "-5"}
    assert decode([values[field] for field in fields]) == {"sources": 0, "caches": 7, "apps": 120, "archive": 0}
    assert set(KINDS) == {"sources", "caches", "apps", "archive"}


def test_the_refusal_has_a_table_with_the_largest_first():
    error = over("shop", 5_000_000_000, {"sources": 1_000_000_000, "apps": 4_500_000_000, "caches": 0, "archive": 3})
    lines = error.message.splitlines()
    assert lines[0].startswith("shop has 5.5 GB in the registry; its limit is 5")
    assert [line.split()[0] for line in lines[1:]] == ["images", "sources", "records"]
    assert error.code == "request.storage_full"
    assert "buildfarm retention set shop" in error.advice


def test_uploads_are_counted_later_while_redis_is_unreachable():
    counted, away = [], True

    class Usage:
        def sent(self, repository, size):
            if away:
                raise StoreError("Redis cannot be reached.")
            counted.append((repository, size))

    sent = SentBytes(Usage())
    sent.add("apps/t/a", 5)
    away = False
    sent.add("apps/t/a", 6)
    assert counted == []  # it is not asked again at once
    sent._not_before = 0
    sent.add("caches/t/a", 1)
    assert counted == [("apps/t/a", 11), ("caches/t/a", 1)]
    sent.add("apps/t/b", 2)
    assert counted[2:] == [("apps/t/b", 2)]


def test_a_disk_is_as_full_as_df_says(tmp_path):
    answer = subprocess.run(["df", "--output=pcent", tmp_path], capture_output=True, text=True, check=True).stdout
    used, total = Storage(tmp_path).disk()
    assert used / total * 100 == pytest.approx(int(answer.split()[-1].rstrip("%")), abs=1.5)
