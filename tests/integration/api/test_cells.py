"""Two farms behind one address, through a real nginx with the configuration that the farm makes for it."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest
from click.testing import CliRunner

from buildfarm.access import Tokens
from buildfarm.cli import main
from buildfarm.client import Client
from buildfarm.errors import ApiError, NotFoundError
from buildfarm.farm import Farm, open_farm
from buildfarm.model import BuildRequest, State
from buildfarm.sources.address import GitSource
from buildfarm.store.keeping.usage import Usage
from testkit.builds import empty_namespace
from testkit.cluster.nginx import nginx
from testkit.serving import Api, free_port, serving
from tests.integration.api.test_api import Writer, archive, events

NAME = "builds.example.org"


@dataclass
class Cells:
    """Two farms and what is before them."""

    farms: dict[str, Farm]
    apis: dict[str, Api]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def token(self, cell: str, tenant: str | None, *scopes: str) -> str:
        return self.apis[cell].token(tenant, *(scopes or ("read", "submit")))

    def client(self, cell: str, tenant: str) -> Client:
        return Client(self.url, self.token(cell, tenant))

    def raw(self, token: str = "") -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)


def configuration(ports, port):
    places = [f"{cell}=http://127.0.0.1:{number}" for cell, number in ports.items()]
    return CliRunner().invoke(main, ["cells", *places, f"--listen=127.0.0.1:{port}", f"--server-name={NAME}"]).stdout


@pytest.fixture(scope="module")
def cells(services, tmp_path_factory):
    with ExitStack() as stack:
        farms, apis = {}, {}
        for cell in ("a", "b"):
            own = services.model_copy(update={"namespace": f"test-{uuid.uuid4().hex[:8]}:", "cell": cell})
            stack.callback(empty_namespace, own)
            farms[cell] = stack.enter_context(open_farm(own))
            apis[cell] = stack.enter_context(serving(farms[cell]))
        ports = {cell: int(api.url.rpartition(":")[2]) for cell, api in apis.items()}
        port = free_port()
        stack.enter_context(nginx(tmp_path_factory.mktemp("nginx"), configuration(ports, port)))
        yield Cells(farms, apis, port)


def request(tenant, app="web"):
    return BuildRequest(tenant=tenant, app=app, source=GitSource(url="https://x.example/y"))


def test_a_tenants_build_lands_in_its_cell(cells):
    for cell, other, tenant in (("a", "b", "shop"), ("b", "a", "bank")):
        with cells.client(cell, tenant) as client:
            build = client.submit(request(tenant))
            assert client.get(build.id).request.tenant == tenant
        assert cells.farms[cell].get(build.id).id == build.id
        with pytest.raises(NotFoundError):
            cells.farms[other].get(build.id)


def test_a_log_is_followed_line_by_line(cells):
    writer = Writer(cells.farms["b"], "live")
    client = cells.raw(cells.token("b", "logs", "read"))
    with client, client.stream("GET", f"/v1/builds/{writer.build.id}/log/live") as response:
        told = events(response)
        assert next(told)[1] == "build"
        for number in range(3):
            writer.write(f"line {number}")
            assert next(told)[2]["text"] == f"line {number}"
        writer.end()
        assert [name for _, name, _ in told] == ["build", "end"]


def test_a_source_is_uploaded_to_the_cell_and_counts_there(cells):
    content = archive({f"{number}.bin": uuid.uuid4().hex * 10_000 for number in range(30)})
    with cells.client("b", "sender") as client:
        source, _ = client.take_source("sender", iter([content]))
        assert client.has_source(source)
    stored = {cell: Usage(farm.database).of("sender") for cell, farm in cells.farms.items()}
    assert sum(stored["b"].values()) > 0
    assert sum(stored["a"].values()) == 0


def test_an_upload_that_is_refused_while_it_is_sent_says_why(cells):
    def pieces():
        for _ in range(200):
            yield b"x" * 65536

    headers = {"Content-Type": "application/gzip"}
    with cells.raw(f"bf_b-0123456789abcdef_{'x' * 43}") as client:
        refused = client.post("/v1/sources", content=pieces(), headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (401, "request.unauthenticated")


@pytest.mark.parametrize("token", ["", f"bf_0123456789abcdef_{'x' * 43}", f"bf_zz-0123456789abcdef_{'x' * 43}"])
def test_who_names_no_cell_is_answered_by_the_first(cells, token):
    with cells.raw(token) as client:
        assert client.get("/v1/builds").json()["code"] == "request.unauthenticated"
        assert client.get("/healthz").status_code == 204


def test_a_token_from_before_the_farm_was_a_cell_still_opens_it(cells):
    text, token = Tokens(cells.farms["a"].database).make("old", "ci", {"read"}, 1)
    assert text.startswith(f"bf_{token.id}_")
    with cells.raw(text) as client:
        assert client.get("/v1/builds").status_code == 200


def test_a_token_opens_no_other_cell(cells):
    text = cells.token("b", "shop", "read").replace("bf_b-", "bf_a-")
    with cells.raw(text) as client:
        assert client.get("/v1/builds").status_code == 401


def test_the_page_of_a_cell_is_at_its_own_name(cells):
    token = cells.token("b", "viewer", "read")
    address = {cell: {"Host": f"{cell}.{NAME}", "Origin": f"http://{cell}.{NAME}"} for cell in cells.farms}
    with cells.raw() as browser:
        assert browser.post("/sign-in", data={"token": token}, headers=address["a"]).status_code == 401
        signed = browser.post("/sign-in", data={"token": token}, headers=address["b"])
        assert signed.status_code == 303
        assert browser.get("/", headers=address["b"]).status_code == 200


def test_a_tenant_moves_with_a_new_token_and_reads_its_old_builds_with_the_old_one(cells):
    with cells.client("a", "mover") as before, cells.client("b", "mover") as after:
        old, new = before.submit(request("mover")), after.submit(request("mover"))
        before.cancel(old.id)
        assert before.get(old.id).state is State.CANCELLED
        assert [build.id for build in before.recent(5)] == [old.id]
        assert [build.id for build in after.recent(5)] == [new.id]


def test_a_cell_that_is_down_is_named_and_the_other_works(cells):
    apis, port = cells.apis, int(cells.apis["b"].url.rpartition(":")[2])
    with (
        cells.client("a", "up") as up,
        cells.client("b", "down") as down,
        cells.raw(cells.token("b", "down", "read")) as raw,
    ):
        known = down.submit(request("down"))
        apis["b"].process.terminate()
        apis["b"].process.wait(30)
        answer = raw.get(f"/v1/builds/{known.id}")
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert (answer.json()["status"], answer.json()["code"]) == (503, "farm.cell")
        assert answer.json()["instance"] == answer.headers["x-request-id"]
        assert int(answer.headers["retry-after"]) > 0
        with pytest.raises(ApiError, match="Cell b of the farm is unreachable"):
            down.get(known.id)
        assert up.get(up.submit(request("up")).id).request.tenant == "up"
        with serving(cells.farms["b"], port=port):
            assert down.get(known.id).id == known.id
