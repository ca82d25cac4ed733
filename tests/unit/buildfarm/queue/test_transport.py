"""Messages from a queue: what Celery can deal with passes, whatever else ends before it."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.queue.messages import MalformedMessageError, check_message, message_template


def envelope(body=b'[["id"], {}, {}]', **changes):
    message = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": "buildfarm.build", "id": "4f2c"},
        "properties": {
            "delivery_tag": "1",
            "delivery_info": {"exchange": "", "routing_key": "build.interactive.0"},
            "body_encoding": "base64",
        },
    }
    return {**message, **changes}


def test_a_whole_message_passes():
    check_message(envelope())
    check_message(json.loads(message_template("buildfarm.build")))


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (5, "not a JSON object"),
        ([], "not a JSON object"),
        ({}, "no headers"),
        (envelope(headers=None), "no headers"),
        (envelope(headers={"id": "x"}), "header task"),
        (envelope(headers={"task": "x", "id": 7}), "header id"),
        (envelope(headers={"task": "x", "id": "y", "timelimit": [5, 5]}), "the header timelimit"),
        (envelope(properties=[]), "no properties"),
        (envelope(properties={"delivery_info": {}}), "exchange"),
        (envelope(**{"content-type": "application/x-python-serialize"}), "not JSON"),
        (envelope(**{"content-encoding": "utf-16"}), "not JSON"),
        (envelope(body=b"\x80\x04"), "cannot be decoded"),
        ({**envelope(), "body": "?"}, "cannot be decoded"),
        ({**envelope(), "body": None}, "no body"),
        (envelope(body=b"{}"), "not .args"),
        (envelope(body=b"[[], {}]"), "not .args"),
        (envelope(body=b"[[], {}, 7]"), "not .args"),
    ],
    ids=str,
)
def test_what_is_not_whole_is_refused_and_says_why(message, told):
    with pytest.raises(MalformedMessageError, match=told):
        check_message(message)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN, st.sampled_from(sorted(envelope())))
def test_nothing_else_is_raised_whatever_comes(value, name):
    for message in (value, {**envelope(), name: value}, {**envelope(), "headers": {"task": value, "id": value}}):
        try:
            check_message(json.loads(json.dumps(message)))
        except MalformedMessageError as error:
            assert str(error)
