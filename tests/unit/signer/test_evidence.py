"""A build's record comes before a signature that is there: an interrupted request must not cost the provenance."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from buildfarm.errors import UnsignableError
from buildfarm.model import Build, BuildRequest, State
from buildfarm.oci.digest import Digest
from buildfarm.sources.address import ArtifactSource
from signer import evidence
from signer.evidence import Evidence
from signer.images import Read
from signer.predicates.provenance import Provenance

DIGEST = Digest("sha256:" + "a" * 64)
IMAGE = Read("apps/t/a", DIGEST, "", b"{}")
REQUEST = BuildRequest(tenant="t", app="a", source=ArtifactSource(repository="sources/t", digest=DIGEST))
BUILD = Build(id="b1", request=REQUEST, state=State.SUCCEEDED, attempt=1, submitted_at=1.0, started_at=2.0)


class Images:
    """Accepts what the record says of every image, or refuses it."""

    farm = SimpleNamespace(database=None)
    reason = ""

    def check(self, image, expected):
        if self.reason:
            raise UnsignableError(self.reason)
        return "", "builder@sha256:" + "b" * 64

    def read(self, repository, digest, documents):
        return IMAGE


@pytest.fixture
def checked(monkeypatch):
    """Evidence with a build's record, beside what is signed or adopted."""
    monkeypatch.setattr(evidence, "Rebases", lambda _: SimpleNamespace(of=lambda *_: []))

    def make(*, signed=False, adopted=False, recorded=True):
        records = [(BUILD, {"request": "{}", "result": f'{{"digest": "{DIGEST}"}}'})] if recorded else []
        monkeypatch.setattr(evidence, "Adopted", lambda _: SimpleNamespace(has=lambda *_: adopted))
        monkeypatch.setattr(Evidence, "_is_signed", lambda *_: signed)
        monkeypatch.setattr(Evidence, "_builds", lambda *_: iter(records))
        return Evidence(Images(), (), Provenance("host"))

    return make


@pytest.mark.parametrize("known", [{"signed": True}, {"adopted": True}, {}])
def test_an_image_with_a_record_has_its_provenance_also_if_it_is_signed_or_adopted(checked, known):
    predicate = checked(**known).check("apps/t/a", IMAGE)
    assert predicate["runDetails"]["metadata"]["invocationId"] == "b1/1"


@pytest.mark.parametrize("known", [{"signed": True}, {"adopted": True}])
def test_without_a_record_a_signed_or_adopted_image_is_signed_without_provenance(checked, known):
    assert checked(recorded=False, **known).check("apps/t/a", IMAGE) is None


@pytest.mark.parametrize("known", [{"signed": True}, {"adopted": True}])
def test_a_record_that_the_image_differs_from_refuses_no_signed_or_adopted_image(checked, known, monkeypatch):
    monkeypatch.setattr(Images, "reason", "its label differs")
    assert checked(**known).check("apps/t/a", IMAGE) is None


def test_an_image_for_which_nothing_speaks_is_refused(checked, monkeypatch):
    with pytest.raises(UnsignableError, match="no build of apps/t/a"):
        checked(recorded=False).check("apps/t/a", IMAGE)
    monkeypatch.setattr(Images, "reason", "its label differs")
    with pytest.raises(UnsignableError, match="its label differs"):
        checked().check("apps/t/a", IMAGE)


def test_an_image_that_was_moved_needs_no_record_if_it_is_signed(checked, monkeypatch):
    found = checked(signed=True)
    monkeypatch.setattr(Evidence, "_builds", lambda *_: pytest.fail("records are read for each move of a rollout"))
    assert found._origin("apps/t/a", DIGEST, IMAGE) is IMAGE
