"""What is known of layers and images: merged, written as bills of materials, and found by queries. Without services."""

from __future__ import annotations

import json
import zlib
from dataclasses import astuple

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given
from hypothesis import strategies as some

from buildfarm.errors import NotFoundError, RequestError
from buildfarm.releases.facts.components import layer
from buildfarm.releases.facts.components.component import KINDS, Component
from buildfarm.releases.facts.components.cyclonedx import cyclonedx
from buildfarm.releases.facts.components.expression import Expression
from buildfarm.releases.facts.components.image import Part
from buildfarm.releases.facts.components.inventory import place_of
from buildfarm.releases.facts.components.layer import LayerComponents, decode, merged
from buildfarm.releases.facts.components.spdx import spdx
from buildfarm.releases.facts.components.store import ImageLayers
from buildfarm.releases.facts.components.versions import VersionTextError, compare
from buildfarm.releases.facts.layer import COMPONENTS_VERSION

LODASH = Component("npm", "lodash", "4.17.20", "MIT")
SSL = Component("deb", "libssl3t64", "3.5.1-1+b1", "", "arch=amd64&upstream=openssl@3.5.1-1")
DIGEST = f"sha256:{'0' * 64}"
APP = Part(
    f"apps/shop/web@{DIGEST}",
    LayerComponents(
        {"app/node_modules/lodash/package.json": (LODASH,), "app/x/node_modules/lodash/package.json": (LODASH,)},
        unread={"app/bin/x": "it is a program or library that does not list its components"},
    ),
    "debian-13",
)
BASE = Part(f"builder@{DIGEST}", LayerComponents({"var/lib/dpkg/status": (SSL,)}), "debian-13")


def packed(**changes):
    told = {"version": COMPONENTS_VERSION, "files": {}, "removed": [], "unread": {}, **changes}
    return zlib.compress(json.dumps(told, separators=(",", ":")).encode())


@pytest.mark.parametrize(
    ("component", "purl"),
    [
        (LODASH, "pkg:npm/lodash@4.17.20"),
        (Component("npm", "@babel/core", "7.0.0"), "pkg:npm/%40babel/core@7.0.0"),
        (Component("golang", "github.com/a/b", "v1.2.3"), "pkg:golang/github.com/a/b@v1.2.3"),
        (Component("golang", "stdlib", "1.25.5"), "pkg:golang/stdlib@1.25.5"),
        (Component("maven", "org.slf4j/slf4j-api", "2.0.9"), "pkg:maven/org.slf4j/slf4j-api@2.0.9"),
        (Component("gem", "nokogiri", "1.18.0", "", "platform=x86_64-linux"),
         "pkg:gem/nokogiri@1.18.0?platform=x86_64-linux"),
        (Component("composer", "monolog/monolog", "3.1.0"), "pkg:composer/monolog/monolog@3.1.0"),
        (Component("cpan", "AUTHOR/Foo-Bar", "1.02"), "pkg:cpan/AUTHOR/Foo-Bar@1.02"),
        (SSL, "pkg:deb/debian/libssl3t64@3.5.1-1%2Bb1?arch=amd64&distro=debian-13&upstream=openssl%403.5.1-1"),
    ],
)  # fmt: skip
def test_a_component_has_its_package_url(component, purl):
    assert component.purl("debian-13") == purl


def test_a_debian_package_has_its_source_package():
    assert (SSL.source, LODASH.source) == (("openssl", "3.5.1-1"), ("lodash", "4.17.20"))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"nothing", packed(version=0), packed(files=[]), packed(files={"x": [["npm", "x"]]}),
        packed(files={"x": [["other", "x", "1", "", ""]]}), packed(files={"x": [["npm", "", "1", "", ""]]}),
        packed(removed=[1]), packed()[:-3], bytes(layer.PACKED_BYTES_MAX + 1), zlib.compress(b"[" * 100_000),
        zlib.compress(bytes(64 * 1024 * 1024)),
    ],
)  # fmt: skip
def test_what_is_not_such_a_list_is_refused(content):
    with pytest.raises(ValueError, match=r"component"):
        decode(content)


def test_an_upper_layer_hides_what_it_replaces_and_removes():
    lower = LayerComponents({"status": (SSL,), "a/x": (LODASH,), "a/b/y": (LODASH,), "ab": (LODASH,)})
    assert merged([lower, LayerComponents({"status": ()}, ("a",))]).files == {"status": (), "ab": (LODASH,)}
    assert merged([lower, LayerComponents({}, ("a/b/",))]).files.keys() == {"status", "a/x", "ab"}


def test_a_bill_of_materials_is_valid_by_the_official_schema():
    for parts in ([APP], [APP, BASE], [BASE], [Part(APP.reference, LayerComponents(), "")]):
        problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(cyclonedx(parts).decode())
        assert problem is None


def test_a_bill_has_each_component_once_with_its_places_and_declares_what_is_unknown():
    made = json.loads(cyclonedx([APP, BASE]))
    by_name = {one["name"]: one for one in made["components"]}
    assert [place["location"] for place in by_name["lodash"]["evidence"]["occurrences"]] == [
        "/app/node_modules/lodash/package.json", "/app/x/node_modules/lodash/package.json",
    ]  # fmt: skip
    assert by_name["debian"]["type"] == "operating-system"
    assert len(made["components"]) == 3
    properties = made["metadata"]["component"]["properties"]
    assert {one["name"] for one in properties} == {"buildfarm:base", "buildfarm:unread"}
    assert made["compositions"][0]["aggregate"] == "incomplete"
    assert cyclonedx([APP]) == cyclonedx([APP]) != cyclonedx([BASE])


def test_spdx_has_the_same_components():
    made = json.loads(spdx([APP, BASE]))
    assert [one["externalRefs"][0]["referenceLocator"] for one in made["packages"][1:]] == sorted(
        [LODASH.purl(), SSL.purl("debian-13")]
    )
    assert "app/bin/x" in made["packages"][0]["comment"]
    assert len(made["relationships"]) == 3


@pytest.mark.parametrize(
    ("kind", "older", "newer"),
    [
        ("npm", "4.9.0", "4.17.0"), ("npm", "1.0.0-rc.1", "1.0.0"), ("cargo", "0.9.9", "0.10.0"),
        ("golang", "v1.9.0", "v1.10.0"), ("golang", "v0.0.0-20200101000000-0a", "v0.0.1"),
        ("pypi", "1.0rc1", "1.0"), ("pypi", "1.0", "1.0.post1"), ("deb", "1.0~rc1", "1.0"), ("deb", "9", "1:0.1"),
        ("deb", "3.0.15-1~deb12u1", "3.0.15-1"), ("gem", "1.9", "1.10"), ("gem", "1.0.0.pre", "1.0.0"),
        ("maven", "1.0-SNAPSHOT", "1.0"), ("maven", "1.9", "1.10"), ("composer", "1.0.0-beta", "1.0.0"),
        ("cpan", "1.10", "1.9"), ("cpan", "1.001003", "1.2"), ("cpan", "v1.9", "v1.10"), ("cpan", "1.9.0", "1.10.0"),
        ("generic", "17.0.9", "17.0.9.1"), ("generic", "1.8.0_302", "1.8.0_392"), ("generic", "3.14.0rc1", "3.14.0"),
        ("generic", "22-ea", "22"), ("generic", "20.9.0", "20.18.1"), ("generic", "3.14.0rc9", "3.14.0rc10"),
    ],
)  # fmt: skip
def test_versions_are_ordered_as_their_ecosystem_does(kind, older, newer):
    assert (compare(kind, older, newer), compare(kind, newer, older), compare(kind, newer, newer)) == (-1, 1, 0)


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("cpan", "1.10", "1.100"), ("cpan", "1.02", "1.02_00"), ("generic", "21", "21.0.0"),
        ("generic", "21+35", "v21"),
    ],
)  # fmt: skip
def test_versions_are_equal_as_their_ecosystem_has_it(kind, one, other):
    assert compare(kind, one, other) == 0


def test_what_is_not_a_version_is_an_error_of_one_kind():
    for text in ("not a version", "1" * 1000):
        with pytest.raises(VersionTextError):
            compare("pypi", text, "1")


@pytest.mark.parametrize(
    ("text", "component", "matches"),
    [
        ("npm/lodash@<4.17.21", LODASH, True), ("npm/lodash@<4.17.20", LODASH, False), ("npm/lodash", LODASH, True),
        ("npm/lodash@4.17.20", LODASH, True), ("npm/lodash@>=4,<4.17.20", LODASH, False),
        ("npm/lodash@>=4, <5, !=4.17.19", LODASH, True), ("pkg:npm/lodash@4.17.20", LODASH, True),
        ("pypi/lodash", LODASH, False), ("npm/%40babel/core", Component("npm", "@babel/core", "7.0.0"), True),
        ("npm/@babel/core@^", Component("npm", "@babel/core", "7.0.0"), None),
        ("deb/openssl@<3.5.2", SSL, True), ("deb/debian/libssl3t64", SSL, True), ("deb/libssl", SSL, False),
        ("pypi/Flask_Login@==0.6.3", Component("pypi", "flask-login", "0.6.3"), True),
        ("deb/openssl@<3.5.2", Component("deb", "libssl", "9", "", "upstream=openssl@3.5.1"), True),
        ("deb/openssl@>3.5.2", Component("deb", "libssl", "9", "", "upstream=openssl@3.5.1"), False),
        ("pypi/torch@2.0.0", Component("pypi", "torch", "2.0.0+cpu"), True),
        ("pypi/torch@<=2.0.0", Component("pypi", "torch", "2.0.0+cpu"), True),
        ("pypi/torch@2.0.0+cpu", Component("pypi", "torch", "2.0.0+cpu"), True),
        ("pypi/torch@2.0.0+cu124", Component("pypi", "torch", "2.0.0+cpu"), False),
        ("maven/org.springframework/spring-core@<6.1", Component("maven", "spring-core", "6.0.0"), True),
        ("maven/spring-core", Component("maven", "org.springframework/spring-core", "6.0.0"), False),
        ("golang/github.com/burntsushi/toml", Component("golang", "github.com/BurntSushi/toml", "v1.0.0"), True),
        ("pkg:deb/debian/libssl3t64@3.5.1-1%2Bb1?arch=amd64&distro=debian-13", SSL, True),
        ("pkg:gem/nokogiri@1.0?platform=x86_64-linux#lib", Component("gem", "nokogiri", "1.0"), True),
        ("golang/github.com/a/b@<1.3", Component("golang", "github.com/a/b", "v1.2.3"), True),
        ("lodash", LODASH, None), ("npm/", LODASH, None), ("other/x", LODASH, None), ("pypi/x@<what", LODASH, None),
        ("npm/x@" + ",".join(["<1"] * 11), LODASH, None), ("npm/" + "x" * 600, LODASH, None),
    ],
)  # fmt: skip
def test_an_expression_names_a_component_and_its_versions(text, component, matches):
    if matches is None:
        with pytest.raises(RequestError):
            Expression.parse(text)
    else:
        expression = Expression.parse(text)
        assert expression.matches(component) is matches
        if matches:
            assert expression.may_be_in(zlib.decompress(packed(files={"x": [list(astuple(component))]})))


def test_a_version_that_cannot_be_compared_is_not_the_same_as_one_that_does_not_match():
    assert Expression.parse("pypi/x").matches(Component("pypi", "x", "unknown"))
    with pytest.raises(VersionTextError):
        Expression.parse("pypi/x@<2").matches(Component("pypi", "x", "unknown"))


def test_every_component_is_found_by_the_package_url_that_its_bill_has():
    for component in (LODASH, SSL, Component("golang", "github.com/a/B", "v1.2.3"), Component("pypi", "x", "1+a")):
        assert Expression.parse(component.purl("debian-13")).matches(component)


@pytest.mark.parametrize(
    ("image", "place"),
    [
        ("shop/web", ("apps/shop/web", "")), (f"shop/web@{DIGEST}", ("apps/shop/web", DIGEST)),
        (f"registry:5000/apps/shop/web@{DIGEST}", ("apps/shop/web", DIGEST)), ("builder:stable", ("builder", "stable")),
        (f"builder@{DIGEST}", ("builder", DIGEST)), ("shop/web@sha256:1", None), ("Shop /web", None), ("", None),
    ],
)  # fmt: skip
def test_an_image_is_named_as_people_name_it(image, place):
    if place is None:
        with pytest.raises(NotFoundError):
            place_of(image, "registry:5000")
    else:
        assert place_of(image, "registry:5000") == place


def test_since_when_is_kept_for_what_stays():
    before = ImageLayers("a", "base1", 1.0, {"x": 1.0, "y": 2.0})
    after = ImageLayers("b", "base1", 9.0, {"y": 9.0, "z": 9.0}).after(before, 9.0)
    assert (after.base_since, after.layers) == (1.0, {"y": 2.0, "z": 9.0})
    assert ImageLayers("b", "base2", 9.0, {}).after(before, 9.0).base_since == 9.0


@given(
    some.lists(
        some.tuples(some.sampled_from(sorted(KINDS)), *[some.text(alphabet="/@a&=%+;1 \ud800\x1b.", max_size=6)] * 4),
        max_size=5,
    )
)
def test_a_component_without_a_package_url_costs_no_other(rows):
    good = ("npm", "ms", "1", "", "")
    found = decode(packed(files={"x": [row for row in rows if row[1] and row[2]] + [good], "y": [good]}))
    assert found.files["x"][-1:] == found.files["y"] == (Component(*good),)
    assert set(found.unread) <= {"x"}
    parts = [Part(APP.reference, found, "debian-13")]
    assert cyclonedx(parts)
    assert spdx(parts)


def test_what_several_layers_do_not_tell_is_all_named():
    found = merged([LayerComponents.unknown("one"), LayerComponents.unknown("two")])
    assert found.unread == {"": "one; two"}
