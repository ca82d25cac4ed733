"""Image builds may run a Dockerfile with the engine's rights, so no route of the API takes a request for one."""

from __future__ import annotations

import json

import pytest
from fastapi import FastAPI
from pydantic import ValidationError

from buildfarm.api.bodies import NewBuild
from buildfarm.api.page import apps as apps_page
from buildfarm.api.page import finding, form, operating, pages
from buildfarm.api.routes import apps, builds, farm, keeping, sources, webhook

SOURCE = {"kind": "artifact", "repository": "sources/images", "digest": "sha256:" + "a" * 64}


@pytest.mark.parametrize(
    "body",
    [
        {"image": "builder", "version": "trixie", "source": SOURCE},
        {"app": "a", "image": "builder", "version": "trixie", "source": SOURCE},
        {"app": "a", "source": SOURCE, "sha256": "a" * 64},
    ],
)
def test_a_new_build_is_never_an_image_build(body):
    NewBuild.model_validate({"app": "a", "source": SOURCE})
    with pytest.raises(ValidationError):
        NewBuild.model_validate(body)


def test_no_route_names_an_image_request_in_what_it_takes():
    app = FastAPI()
    for part in (builds, sources, webhook, keeping, apps, farm, pages, form, apps_page, finding, operating):
        app.include_router(part.router)
    document = app.openapi()
    schemas = document["components"]["schemas"]
    assert "ImageRequest" in schemas  # of answers: builds that are read back
    waiting = [
        json.dumps(method.get("requestBody", {})) + json.dumps(method.get("parameters", []))
        for path in document["paths"].values()
        for method in path.values()
    ]
    taken = set()
    while waiting:
        text = waiting.pop()
        for name in schemas:
            if f'"#/components/schemas/{name}"' in text and name not in taken:
                taken.add(name)
                waiting.append(json.dumps(schemas[name]))
    assert "NewBuild" in taken
    assert "ImageRequest" not in taken
