"""Which of a registry's tags are taken over as newest images: names that builds publish, and those that can be read."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from buildfarm.oci.connection import OtherContentError
from buildfarm.oci.retry import UnavailableError
from buildfarm.store.archive.rebuild import tags
from buildfarm.store.archive.rebuild.held import Rebuilt
from buildfarm.store.archive.rebuild.tags import RegistryTags, is_app


class Registry:
    """Two apps; the first one's tag cannot be read."""

    def __init__(self, error: Exception, *, answers: bool = True) -> None:
        self.error = error
        self.answers = answers

    def repositories(self):
        return ["apps/t/a", "apps/t/b", "apps/hello", "sources/t"]

    def read_manifest(self, repository, reference):
        if repository == "apps/t/a":
            raise self.error
        return SimpleNamespace(annotations={}), f"sha256:{repository}"

    def ping(self):
        if not self.answers:
            raise self.error


def anything(target, image):
    return True


@pytest.fixture(autouse=True)
def pointed(monkeypatch):
    found = {}
    point = lambda target, there, seen, *, is_new: found.update({target: there}) or True  # noqa: E731
    monkeypatch.setattr(RegistryTags, "_is_known", lambda self, target, image: False)
    monkeypatch.setattr(tags, "Tags", lambda database: SimpleNamespace(point=point))
    return found


@pytest.mark.parametrize("error", [OtherContentError("it was cut short"), UnavailableError("it answered 500")])
def test_a_tag_that_cannot_be_read_is_named_and_keeps_no_other_app_from_its_image(error, pointed):
    done = Rebuilt()
    RegistryTags(None, Registry(error), {}, anything).take(done, ())
    assert done.unread == [f"The tag of apps/t/a: {error.message}"]
    assert done.tags == [*pointed] == ["apps/t/b"]
    assert not done.damaged, "that would stop collections"


def test_an_image_that_may_not_be_taken_is_named_and_the_record_stays(pointed):
    done = Rebuilt()
    known = {"apps/t/a": "sha256:before", "apps/t/b": "sha256:before"}
    registry = Registry(OtherContentError("it was cut short"))
    RegistryTags(None, registry, known, lambda target, image: False).take(done, ())
    assert "The tag of apps/t/b: its image sha256:apps/t/b has no signature. Build the app again." in done.unread
    assert done.tags == [*pointed] == []


def test_a_registry_that_does_not_answer_at_all_ends_it(pointed):
    with pytest.raises(UnavailableError):
        RegistryTags(None, Registry(UnavailableError("it is gone"), answers=False), {}, anything).take(Rebuilt(), ())
    assert pointed == {}


@pytest.mark.parametrize(
    ("repository", "is_one"),
    [
        ("apps/t/a", True),
        ("apps/shop/web-pr-12", True),
        ("apps/hello", False),
        ("apps/a/b/c", False),
        ("apps/t/A_b", False),
        ("apps/t/", False),
        ("caches/t/a", False),
    ],
)
def test_only_names_of_a_tenant_and_an_app_are_apps(repository, is_one):
    assert is_app(repository) is is_one
