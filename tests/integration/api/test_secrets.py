"""A secret that is marked over HTTP is masked in the build's log, whichever way it is sent."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from buildfarm.client import AsyncClient, Client
from buildfarm.model import BuildRequest, State
from buildfarm.sources.address import ArtifactSource
from testkit.builds import Builds, write_files
from testkit.serving import Api, serving

PRINTS = """#!/bin/bash
echo "plain $(cat "$3/PLAIN")"
echo "secret $(cat "$3/TOKEN")"
echo "encoded $(base64 "$3/TOKEN")"
"""
PLAIN = "shown-in-the-log"


@pytest.fixture(scope="module")
def api(built: Builds) -> Iterator[Api]:
    with serving(built.farm) as api:
        yield api


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An app whose build prints two config vars, one of them also in base64."""
    return write_files(tmp_path, {"bin/detect": "#!/bin/bash\necho Probe\n", "bin/compile": PRINTS})


def request_of(source: ArtifactSource, secret: str) -> BuildRequest:
    env = {"PLAIN": PLAIN, "TOKEN": secret}
    return BuildRequest(tenant="shop", app="secrets", source=source, env=env, secrets=("TOKEN",))


def by_http(api: Api, app: Path, secret: str) -> str:
    source, _ = api.farm.pack(app, "shop")
    body = {
        "app": "secrets",
        "source": source.model_dump(mode="json"),
        "env": {"PLAIN": PLAIN, "TOKEN": secret},
        "secrets": ["TOKEN"],
    }
    with api.as_("shop", "read", "submit") as client:
        accepted = client.post("/v1/builds", json=body, headers={"Idempotency-Key": uuid.uuid4().hex})
    assert accepted.status_code == 202, accepted.text
    assert secret not in accepted.text
    return str(accepted.json()["id"])


def by_client(api: Api, app: Path, secret: str) -> str:
    with Client(api.url, api.token("shop", "read", "submit")) as client:
        return client.submit(request_of(client.pack(app, "shop")[0], secret)).id


def by_nonblocking_client(api: Api, app: Path, secret: str) -> str:
    async def run() -> str:
        async with AsyncClient(api.url, api.token("shop", "read", "submit")) as client:
            source, _ = await client.pack(app, "shop")
            return (await client.submit(request_of(source, secret))).id

    return asyncio.run(run())


def by_page(api: Api, app: Path, secret: str) -> str:
    archive = subprocess.run(["tar", "-C", app, "-czf", "-", "."], check=True, capture_output=True).stdout
    form = {"app": "secrets", "env": f"PLAIN={PLAIN}", "secrets": f"TOKEN={secret}", "key": uuid.uuid4().hex}
    with httpx.Client(base_url=api.url, trust_env=False, timeout=30) as browser:
        signed_in = browser.post("/sign-in", data={"token": api.token("shop", "read", "submit")})
        assert signed_in.status_code == 303, signed_in.text
        accepted = browser.post("/submit", data=form, files={"file": ("app.tar.gz", archive)})
        assert accepted.status_code == 303, accepted.text
        assert secret not in browser.get(accepted.headers["location"]).text
    return str(accepted.headers["location"].rpartition("/")[2])


def by_command(api: Api, app: Path, secret: str) -> str:
    arguments = ["build", str(app), "--app", "shop/secrets", "--env", f"PLAIN={PLAIN}", "--secret", "TOKEN", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "buildfarm", "--url", api.url, *arguments],
        capture_output=True, text=True, check=False,
        env={**os.environ, "BUILDFARM_TOKEN": api.token("shop", "read", "submit"), "TOKEN": secret},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert secret not in done.stdout + done.stderr
    return str(json.loads(done.stdout)["id"])


@pytest.mark.parametrize("send", [by_http, by_client, by_nonblocking_client, by_page, by_command])
def test_a_marked_secret_is_masked_in_the_log(
    api: Api, built: Builds, app: Path, send: Callable[[Api, Path, str], str]
) -> None:
    secret = f"s3cret-{uuid.uuid4().hex}"
    build = built.ended(send(api, app, secret))
    assert build.state is State.SUCCEEDED, built.log(build)
    assert (build.request.tenant, getattr(build.request, "secrets", ())) == ("shop", ("TOKEN",))
    with api.as_("shop", "read") as client:
        log = client.get(f"/v1/builds/{build.id}/log").text
        record = client.get(f"/v1/builds/{build.id}").text
    lines = [line.strip() for line in log.splitlines()]
    assert f"plain {PLAIN}" in lines
    assert "secret [hidden]" in lines
    assert [line[:16] for line in lines if line.startswith("encoded ")] == ["encoded [hidden]"]
    assert secret not in log + record + api.log.read_text()
