"""Records keep the names of the version before: its nodes read what this one writes, and this one what they wrote."""

from __future__ import annotations

import json

import pytest

from buildfarm.model import ArtifactSource, BuildRequest, ImageRequest
from buildfarm.oci.digest import Digest
from buildfarm.store.records import _content, _stored, decode

SOURCE = ArtifactSource(repository="sources/acme", digest=Digest("sha256:" + "a" * 64))


def test_a_request_is_stored_under_the_old_name():
    request = BuildRequest(tenant="acme", app="shop", source=SOURCE, cached_result=False)
    stored = json.loads(_stored(request))
    assert stored["memo"] is False
    assert "cached_result" not in stored
    assert BuildRequest.model_validate(stored) == request


def test_an_image_request_has_no_such_field():
    request = ImageRequest(image="redis", version="7", source=SOURCE)
    assert ImageRequest.model_validate_json(_stored(request)) == request


# As the version before wrote them: idempotency keys of builds that it accepted are found by a digest of this text.
BEFORE = {
    "app": (
        BuildRequest(
            tenant="acme", app="shop", source=SOURCE, env={"TOKEN": "välue-12345", "B": "c"}, secrets=("TOKEN",),
            buildpacks=("python",), buildpack_order=("nodejs",), cached_result=False, build_class="large",
            run_policy="all", idempotency_key="push-1", expires_in_seconds=60,
        ),
        '{"build_class":"large","run_policy":"all","idempotency_key":"push-1","expires_in_seconds":60.0,'
        '"tenant":"acme","app":"shop","source":{"kind":"artifact","repository":"sources/acme","digest":"sha256:'
        + "a" * 64
        + '"},"env":{"TOKEN":"välue-12345","B":"c"},"secrets":["TOKEN"],"buildpacks":["python"],'
        '"buildpack_order":["nodejs"],"memo":false}',
    ),
    "image": (
        ImageRequest(
            image="redis", version="7", source=SOURCE, mirror="https://m.example.org/x", sha256="b" * 64,
            idempotency_key="k", expires_in_seconds=5,
        ),
        '{"build_class":null,"run_policy":"latest_queued","idempotency_key":"k","expires_in_seconds":5.0,'
        '"image":"redis","version":"7","source":{"kind":"artifact","repository":"sources/acme","digest":"sha256:'
        + "a" * 64
        + '"},"mirror":"https://m.example.org/x","sha256":"'
        + "b" * 64
        + '"}',
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BEFORE)
def test_a_stored_request_is_the_text_of_the_version_before(kind):
    request, before = BEFORE[kind]
    assert _stored(request) == before
    assert type(request).model_validate_json(before) == request


@pytest.mark.parametrize("kind", BEFORE)
def test_the_digest_of_a_request_is_made_of_that_text_without_its_key(kind):
    request, before = BEFORE[kind]
    assert _content(request).decode() == before.replace(f'"idempotency_key":"{request.idempotency_key}",', "")


def test_a_record_says_whose_result_it_has():
    request = _stored(BuildRequest(tenant="acme", app="shop", source=SOURCE))
    record = {"id": "b", "state": "succeeded", "submitted_at": "1", "request": request, "memo_of": "a"}
    build = decode(record)
    assert build.result_of == "a"
    assert build.request.cached_result


@pytest.mark.parametrize(
    ("stored", "channel", "base"),
    [
        ({}, "", ""),
        ({"base": "2 next builder@sha256:0"}, "next", "builder@sha256:0"),
        ({"base": "1 next builder@sha256:0"}, "", ""),  # a node of an older version has claimed it since
        ({"base": "2 next builder@sha256:0 more"}, "next", "builder@sha256:0"),  # of a newer version
    ],
)
def test_a_record_says_what_its_newest_attempt_stands_on(stored, channel, base):
    request = _stored(BuildRequest(tenant="acme", app="shop", source=SOURCE))
    build = decode({"id": "b", "state": "running", "submitted_at": "1", "request": request, "attempt": "2", **stored})
    assert (build.channel, build.base) == (channel, base)
