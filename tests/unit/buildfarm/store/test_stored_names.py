"""Records keep the names of the version before: its nodes read what this one writes, and this one what they wrote."""

from __future__ import annotations

import json

from buildfarm.model import ArtifactSource, BuildRequest, ImageRequest
from buildfarm.oci.digest import Digest
from buildfarm.store.records import _stored, decode

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


def test_a_stored_request_is_the_text_of_the_version_before():
    request = BuildRequest(tenant="acme", app="shop", source=SOURCE, env={"NAME": "välue"}, expires_in_seconds=5)
    before = request.model_dump_json().replace('"cached_result":', '"memo":')
    assert _stored(request) == before


def test_a_record_says_whose_result_it_has():
    request = _stored(BuildRequest(tenant="acme", app="shop", source=SOURCE))
    record = {"id": "b", "state": "succeeded", "submitted_at": "1", "request": request, "memo_of": "a"}
    build = decode(record)
    assert build.result_of == "a"
    assert build.request.cached_result
