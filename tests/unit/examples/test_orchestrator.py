"""The example orchestrator's decisions, and what it takes for a genuine webhook."""

from __future__ import annotations

import base64

import pytest
from docker.errors import DockerException

from buildfarm.api.webhooks.outbound import sign
from buildfarm.errors import SignatureError
from buildfarm.oci.registry import Registry
from buildfarm.oci.signatures.attaching import Attaching
from buildfarm.oci.signatures.signer import FileSigner, new_key
from examples.orchestrator.containers import Containers
from examples.orchestrator.decisions import RETRY_SECONDS, Container, find_previous, find_wanted, must_start
from examples.orchestrator.orchestrator import Orchestrator
from examples.orchestrator.webhooks import OLD_SECONDS, app_of, is_signed
from tests.unit.buildfarm.oci.signatures.test_attaching import pushed

SECRET = f"whsec_{base64.b64encode(b'a' * 32).decode()}"
OTHER = f"whsec_{base64.b64encode(b'b' * 32).decode()}"
NOW = 1_790_000_000.0


def container(name: str, image: str, *, started: float = 1.0, ended: float = 0.0) -> Container:
    return Container(name, "shop/web", image, "" if ended else f"127.0.0.1:{name}", started, ended)


OLD = container("1", "old")
NEW = container("2", "new", started=2.0)
FAILED = container("3", "new", started=2.0, ended=NOW - 1)


@pytest.mark.parametrize(
    ("there", "wanted", "starts", "previous"),
    [
        ([], None, True, None),
        ([OLD], None, True, None),
        ([OLD, NEW], NEW, False, OLD),
        ([NEW], NEW, False, None),
        ([OLD, FAILED], FAILED, False, OLD),
        ([FAILED], FAILED, True, None),
        ([OLD, container("3", "new", started=2.0, ended=NOW - RETRY_SECONDS - 1)], "3", True, OLD),
        ([container("0", "older", started=0.5), OLD, NEW], NEW, False, OLD),
    ],
    ids=["nothing", "old alone", "both", "new alone", "new has failed", "nothing serves", "a later try", "the newest"],
)
def test_what_is_started_and_what_goes_on(there, wanted, starts, previous):
    found = find_wanted(there, "new")
    assert found == wanted or (found is not None and found.id == wanted)
    assert must_start(found, there, NOW) is starts
    assert found is None or find_previous(there, found) == previous


def test_of_two_containers_of_an_image_the_newer_one_counts():
    assert find_wanted([container("1", "new", started=1.0), NEW], "new") == NEW


def headers(secret: str, body: bytes, at: float = NOW) -> dict[str, str]:
    return {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(int(at)),
        "Webhook-Signature": sign(secret, "msg_1", int(at), body),
    }


def test_what_the_farm_signs_is_genuine():
    assert is_signed([SECRET], headers(SECRET, b"{}"), b"{}", NOW)
    assert is_signed([OTHER, SECRET], headers(SECRET, b"{}"), b"{}", NOW)
    both = headers(OTHER, b"{}")
    both["Webhook-Signature"] += f" {sign(SECRET, 'msg_1', int(NOW), b'{}')}"
    assert is_signed([SECRET], both, b"{}", NOW), "while a secret is changed, both sign"


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (headers(OTHER, b"{}"), b"{}"),
        (headers(SECRET, b"{}"), b"{ }"),
        (headers(SECRET, b"{}", NOW - OLD_SECONDS - 1), b"{}"),
        (headers(SECRET, b"{}") | {"Webhook-Id": "msg_2"}, b"{}"),
        (headers(SECRET, b"{}") | {"Webhook-Timestamp": "now"}, b"{}"),
        ({}, b"{}"),
    ],
    ids=["another secret", "another body", "too old", "another message", "no time", "nothing"],
)
def test_anything_else_is_not(sent, body):
    assert not is_signed([SECRET], sent, body, NOW)


def test_a_message_names_the_app_to_look_at():
    assert app_of({"type": "image.changed", "data": {"tenant": "shop", "app": "shop/web"}}) == "shop/web"
    build = {"request": {"tenant": "shop", "app": "api"}}
    assert app_of({"type": "build.succeeded", "data": build}) == "shop/api"
    assert app_of({"type": "build.failed", "data": build}) == ""


class Farm:
    """Names the image that the app is to run."""

    def __init__(self, image):
        self.image = image

    def app_image(self, tenant, app):
        return self


class Engine:
    """Has no container, and starts none."""

    class containers:  # noqa: N801 - as the engine's client names it
        @staticmethod
        def list(**_):
            return []

    class images:  # noqa: N801
        @staticmethod
        def pull(name, tag):
            raise DockerException("it would be started")


def test_an_image_that_its_keys_have_not_signed_is_not_started(fake, tmp_path):
    (tmp_path / "key").write_bytes(new_key())
    key = FileSigner.load(tmp_path / "key")
    with Registry(f"http://{fake.host}") as registry:
        image = pushed(registry)
        there = Containers(Engine, "o", fake.host)
        farm = Farm(str(image.subject.digest))
        strict, lax = (Orchestrator(farm, there, None, {}, keys=keys) for keys in ([key.public_key], []))
        with pytest.raises(SignatureError):
            strict.look("t/a")
        with pytest.raises(DockerException, match="started"):
            lax.look("t/a")
        Attaching(registry, [key]).sign(image)
        with pytest.raises(DockerException, match="started"):
            strict.look("t/a")
