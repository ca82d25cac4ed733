"""Apps' tags are moved in one place, which looks for the signature first."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from buildfarm.oci.digest import Digest
from buildfarm.releases.signing.app_tags import AppTags

ROOT = Path(__file__).parents[4]
PRODUCT = ("buildfarm", "workers", "localfarm", "signer")
MOVES = re.compile(r"\.move_tag\(|\.put_manifest\((?:[^()]|\([^()]*\))*\btag=(?!None)")
# What may give a tag to a manifest, with the reason.
ALLOWED = {
    "buildfarm/oci/registry.py": "the call itself",
    "buildfarm/oci/signatures/attaching.py": "signatures and their index",
    "buildfarm/releases/signing/app_tags.py": "the one place",
    "buildfarm/releases/builder.py": "the tags of channels, which name bases",
    "buildfarm/gc/over_api/taken.py": "a collection puts back what it took, tags included",
    "buildfarm/store/archive/shelf.py": "packs of the archive",
    "workers/caches/caches.py": "build caches",
    "workers/image_builds/made_image.py": "images from an engine, for localfarm/beginnings.py",
    "localfarm/beginnings.py": "what the first image builds begin with",
    "buildfarm/releases/rollouts/mover.py": "calls the Rebaser, which uses the one place",
    "buildfarm/releases/rebase.py": "likewise, its method of this name",
}


def test_no_other_module_gives_a_tag_to_a_manifest():
    found = {
        str(path.relative_to(ROOT))
        for package in PRODUCT
        for path in (ROOT / package).rglob("*.py")
        if MOVES.search(path.read_text())
    }
    assert found == set(ALLOWED)


@pytest.mark.parametrize(
    "line",
    [
        "registry.move_tag(a, b, c)",
        'self.registry.put_manifest(r, f(c), t, tag="latest")',
        "x.put_manifest(r, c, t, tag=tag)",
    ],
)
def test_the_search_finds_what_moves_a_tag(line):
    assert MOVES.search(line)


def test_the_search_passes_a_manifest_without_a_tag():
    assert not MOVES.search("registry.put_manifest(r, c, t, tag=None)")


class Registry:
    """Counts; has the signatures that it is given."""

    def __init__(self, *signed):
        self.signed, self.moved, self.asked = signed, [], []

    def has_manifest(self, repository, reference):
        self.asked.append(reference)
        return reference in self.signed

    def move_tag(self, repository, tag, wanted, sent):
        self.moved.append((repository, tag, wanted()))


class Records:
    admission = None

    def tag_target(self, target):
        return str(Digest.of(b"image"))


def test_with_signing_off_nothing_is_looked_for():
    registry = Registry()
    AppTags(registry, Records()).move("apps/t/a")
    assert registry.moved == [("apps/t/a", "latest", Digest.of(b"image"))]
    assert registry.asked == []


def test_a_signed_image_gets_its_tag():
    registry = Registry(f"sha256-{Digest.of(b'image').hex}.sig")
    AppTags(registry, Records(), signing=True).move("images/redis:7")
    assert registry.moved == [("images/redis", "7", Digest.of(b"image"))]
