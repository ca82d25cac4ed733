"""Two builds side by side, in sentences and in rows."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from buildfarm.api.page.comparing.compare import Comparison, compare
from buildfarm.api.page.comparing.differences import newer
from buildfarm.api.page.comparing.packages import packages_of
from buildfarm.cli.details.compare import lines_of
from buildfarm.errors import NotReadYetError
from buildfarm.model import Build, BuildRequest, BuildResult, Layer, Phase, State, UsedBuildpack
from buildfarm.oci.digest import Digest
from buildfarm.sources.address import GitSource

MB = 1_000_000


def digest(text):
    return Digest.of(text.encode())


def layer(origin, size, content=""):
    found = digest(origin + content)
    return Layer(digest=found, diff_id=found, size_bytes=size, origin=origin)


def build(seconds=None, layers=(), ref="v1", buildpacks=(), packages=(), **fields):
    result = None
    if seconds is not None:
        result = BuildResult(
            repository="apps/shop/web", digest=digest(str(layers)), tag="latest", layers=layers, uploaded_bytes=0,
            phase_seconds=seconds, node="n", attempt=1, buildpacks=buildpacks, packages=packages,
        )  # fmt: skip
    request = BuildRequest(tenant="shop", app="web", source=GitSource(url="https://git.example.org/a", ref=ref))
    state = State.SUCCEEDED if result else State.FAILED
    return Build(id="b", request=request, state=state, submitted_at=100.0, **{"result": result, **fields})


def used(name, version, content=""):
    return UsedBuildpack(name=name, kind="classic", source="bundled", digest=digest(name + content), version=version)


def rows(found: Comparison, title):
    [table] = [table for table in found.tables if table.title == title]
    return {row.name: (row.before, row.after, row.change) for row in table.rows}


def test_two_builds_are_compared_in_sentences():
    before = build(
        {Phase.COMPILE: 20.0, Phase.EXPORT: 2.0},
        (layer("builder", 100 * MB), layer("node_modules", 10 * MB)),
        buildpacks=(used("nodejs", "20.1"),),
        packages=tuple(f"p{number}=1.{number}" for number in range(14)),
    )
    after = build(
        {Phase.COMPILE: 33.0, Phase.EXPORT: 3.0},
        (layer("builder", 100 * MB), layer("node_modules", 50 * MB, "new")),
        ref="v2",
        buildpacks=(used("nodejs", "22.0", "new"),),
        packages=(*(f"p{number}=2.{number}" for number in range(12)), "p12=1.12", "q=1"),
    )
    packages = [packages_of(None, one) for one in (before, after)]
    assert compare(before, after, packages).sentences == (
        "14 s slower: compile.",
        "The source changed.",
        "Buildpacks: 1 newer: nodejs.",
        "Packages: 12 newer, 1 new, 1 gone.",
        "Layer node_modules +40.0 MB.",
    )
    back = compare(after, before, packages[::-1]).sentences
    assert back[0] == "14 s faster: compile."
    assert back[4] == "Layer node_modules \N{MINUS SIGN}40.0 MB."


def test_the_rows_have_both_sides():
    before = build({Phase.COMPILE: 20.0}, (layer("app", MB), layer("gone", MB)), buildpacks=(used("python", ""),))
    after = build({Phase.COMPILE: 20.0, Phase.EXPORT: 1.0}, (layer("app", MB, "x"),), buildpacks=(used("php", "8"),))
    found = compare(before, after)
    assert rows(found, "Phases")["compile"] == ("20 s", "20 s", "")
    assert rows(found, "Phases")["export"] == ("", "1.0 s", "")
    assert rows(found, "Phases")["all phases"] == ("20 s", "21 s", "+1.0 s")
    assert rows(found, "Layers")["app"] == ("1.0 MB", "1.0 MB", "other content")
    assert rows(found, "Layers")["gone"] == ("1.0 MB", "", "\N{MINUS SIGN}1.0 MB")
    assert rows(found, "Buildpacks")["php"][2] == "new"
    assert rows(found, "Buildpacks")["python"][2] == "gone"
    assert "before" in lines_of(found)[len(found.sentences) + 1]


class Contents:
    """A farm that knows what is in one image."""

    def __init__(self, *components):
        self.components = components

    def contents(self, image, *, with_base):
        if not self.components:
            raise NotReadYetError("The files have not been read yet.")
        return SimpleNamespace(components=self.components)


def test_packages_come_from_the_layers_once_nodes_have_read_them():
    one = build({Phase.COMPILE: 1.0}, (layer("app", MB),))
    found = [SimpleNamespace(kind="npm", name="ms", version=version) for version in ("2.1.3", "2.0.0")]
    assert packages_of(Contents(*found), one) == {"npm/ms": "2.0.0, 2.1.3"}
    assert packages_of(Contents(), one) is None
    assert packages_of(Contents(*found), build()) is None
    assert "Packages: 1 newer: npm/ms." in compare(one, one, [{"npm/ms": "2.0.0"}, {"npm/ms": "2.1.3"}]).sentences
    assert compare(one, one, [None, {"npm/ms": "2.1.3"}]).sentences == compare(one, one).sentences


def test_equal_builds_have_no_changes():
    one = build({Phase.COMPILE: 1.0}, (layer("app", MB),), buildpacks=(used("python", "3"),))
    found = compare(one, one)
    assert found.sentences == ("Both took about as long.", "The source is the same.", "The image has the same size.")
    assert [row for table in found.tables for row in table.rows if row.change] == []
    assert lines_of(found) == [*found.sentences]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (build(), build()),
        (build(), build({Phase.COMPILE: 1.0}, (layer("app", MB),))),
        (build({Phase.COMPILE: 1.0}), build({Phase.COMPILE: 9.0}, result_of="other")),
    ],
    ids=["failed both", "failed and succeeded", "taken from another build"],
)
def test_builds_that_were_not_built_are_not_called_faster_or_slower(one, other):
    for found in (compare(one, other), compare(other, one)):
        assert found.sentences[0] == "The source is the same."


def test_many_small_changes_are_told_without_a_phase():
    phases = list(Phase)[:6]
    before, after = build(dict.fromkeys(phases, 1.0)), build(dict.fromkeys(phases, 1.095))
    assert compare(before, after).sentences[0] == "0.6 s slower."


@pytest.mark.parametrize(
    ("was", "now", "change"),
    [
        ("1.9", "1.10", "newer"),
        ("2.0", "1.10", "older"),
        ("1.0-1", "1.0-2", "newer"),
        ("1.0 aaaaaaaaaaaa", "1.0 bbbbbbbbbbbb", "changed"),
        ("0123456789ab", "1123456789ab", "changed"),
        ("lts", "stable", "changed"),
    ],
)
def test_versions_are_compared_by_their_numbers(was, now, change):
    assert newer(was, now) == change
