"""How far the API's clock is from a client's."""

from __future__ import annotations

import httpx
import pytest

from buildfarm.client.wire import clock_ahead

AT = 1_700_000_000.0


@pytest.mark.parametrize(
    ("date", "ahead"),
    [
        ("Tue, 14 Nov 2023 22:13:20 GMT", 0.0),
        ("Tue, 14 Nov 2023 22:13:21 GMT", 0.0),
        ("Tue, 14 Nov 2023 23:13:20 GMT", 3600.5),
        ("Tue, 14 Nov 2023 21:13:20 GMT", -3599.5),
        ("yesterday", 0.0),
    ],
)
def test_the_date_of_an_answer_tells_the_difference(date, ahead):
    assert clock_ahead(httpx.Response(200, headers={"Date": date}), AT) == ahead


def test_an_answer_without_a_date_tells_none():
    assert clock_ahead(httpx.Response(200), AT) == 0.0
