"""What LFS servers answer: as the batch API writes it, and as no server should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.fetch.inside.lfs.answers import action, address_of, objects
from workers.fetch.inside.refused import RefusedError

OID = "4d7a" * 16
ACTION = {"href": "https://cdn.example.org/x?sign=1", "header": {"Authorization": "Bearer x"}, "expires_in": 60}
FOUND = {"oid": OID, "size": 5, "authenticated": True, "actions": {"download": ACTION}}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["objects", "oid", "actions", "download", "href", "header", "error", "transfer", "message"]
            ),
            inside,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def test_an_answer_names_the_address_of_each_object_and_its_headers():
    found = objects({"transfer": "basic", "objects": [FOUND], "hash_algo": "sha256"})
    assert action(found[OID], "a.bin", "h.org") == (ACTION["href"], {"Authorization": "Bearer x"})
    assert action(objects({"objects": [FOUND]})[OID], "a.bin", "h.org")[0] == ACTION["href"]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"objects": {}},
        {"objects": [], "transfer": "custom-agent"},
        {"objects": [], "transfer": "ssh"},
        {"objects": [], "hash_algo": "md5"},
    ],
)
def test_another_answer_or_transfer_is_refused(answer):
    with pytest.raises(ValueError, match="it "):
        objects(answer)


@pytest.mark.parametrize(
    "found", [{}, {"error": {"code": 404, "message": "gone"}}, {"actions": {}}, {"actions": []}, {"error": 1, **FOUND}]
)
def test_an_object_that_is_not_there_is_refused_by_its_file(found, capsys):
    with pytest.raises(RefusedError, match="lfs-missing") as error:
        action(found, "a\n-----> forged", "h.org")
    assert error.value.about.startswith("a\n")
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("code", "refusal", "about"),
    [
        (404, "lfs-missing", "a.bin"), (410, "lfs-missing", "a.bin"), ("x", "lfs-missing", "a.bin"),
        (401, "lfs-refused", "h.org"), (403, "lfs-refused", "h.org"), (429, "lfs-failed", "h.org"),
        (500, "lfs-failed", "h.org"), (503, "lfs-failed", "h.org"),
    ],
)  # fmt: skip
def test_only_an_object_that_is_gone_is_missing(code, refusal, about):
    with pytest.raises(RefusedError, match=refusal) as error:
        action({"error": {"code": code, "message": "x"}}, "a.bin", "h.org")
    assert error.value.about == about


@pytest.mark.parametrize(
    "href", [None, "", "/x", "https://", "https://me:x@h.org/", "https://h.org/ x", "https://h.org/\n", "https://[", 7]
)
def test_what_is_not_an_address_is_refused(href):
    with pytest.raises(ValueError, match=r"."):
        address_of({"href": href})


@pytest.mark.parametrize(
    ("name", "value", "is_sent"),
    [
        ("X-Amz-Date", "20260101", True),
        ("Authorization", "RemoteAuth x", True),
        ("Host", "metadata.internal", False),
        ("transfer-encoding", "chunked", False),
        ("Content-Length", "7", False),
        ("Connection", "close", False),
        ("Proxy-Authorization", "x", False),
        ("X y", "1", False),
        ("X", "a\r\nHost: evil", False),
        ("X", "caf\xe9", False),
    ],
)
def test_a_header_says_nothing_about_how_the_request_is_read(name, value, is_sent):
    assert address_of({"href": "https://h.org/", "header": {name: value}})[1] == ({name: value} if is_sent else {})


@given(ANYTHING)
def test_no_answer_breaks_the_reading(answer):
    try:
        for found in objects(answer).values():
            action(found, "a.bin", "h.org")
    except (ValueError, RefusedError):
        pass
