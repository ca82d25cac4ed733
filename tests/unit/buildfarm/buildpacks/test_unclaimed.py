"""What an app that no buildpack takes is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildfarm.buildpacks.unclaimed import LOOKED_FOR, refused, unclaimed
from buildfarm.errors import DetectError

BUNDLED = Path(__file__).parents[4] / "images" / "buildpacks"


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ({"README.md", "mix.exs", "lib"}, "found mix.exs, an Elixir app"),
        ({"hugo.toml", "content"}, "found hugo.toml, a Hugo site"),
        ({"Shop.csproj", "Program.cs"}, "found Shop.csproj, a .NET app"),
        ({"Cargo.toml", "package.json"}, "found Cargo.toml, a Rust library"),
        ({"Dockerfile", "README.md"}, "found Dockerfile, which is not used here"),
    ],
)
def test_a_file_that_tells_what_the_app_is_is_named_with_who_takes_it(names, found):
    assert found in unclaimed(names, ()).message


def test_what_was_looked_for_and_what_is_there_is_told():
    error = unclaimed({"README.md", *(f"file{number}" for number in range(9))}, ())
    assert error.message == "No buildpack detects this app."
    assert "requirements.txt" in error.advice
    assert "README.md, file0" in error.advice
    assert "and 2 more" in error.advice


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (
            {"api/go.mod", "api/main.go"},
            "The folder api looks like an app: set the config var PROJECT_DIR to build one",
        ),
        (
            {"b/package.json", "a/Gemfile", "README.md"},
            "The folders a, b look like an app: set the config var PROJECT_DIR",
        ),
    ],
)
def test_a_folder_that_is_an_app_by_itself_is_named(names, told):
    assert told in unclaimed(names, ()).advice


@pytest.mark.parametrize("names", [{"a/notes.txt"}, {"a/b/package.json"}, {"mix.exs"}])
def test_a_folder_that_is_no_app_is_not_named(names):
    assert "PROJECT_DIR" not in unclaimed(names, ()).advice


def test_a_farm_with_an_order_of_its_own_says_whom_it_asked():
    assert "were asked: python, https://example.org/a." in unclaimed((), ["python", "https://example.org/a"]).advice
    assert "There is nothing" in unclaimed((), ["python"]).advice


def test_the_files_that_are_told_are_those_that_the_buildpacks_look_for():
    lines = (BUNDLED / "order.txt").read_text().splitlines()
    assert {line for line in lines if line and not line.startswith("#")} == LOOKED_FOR.keys()
    for name, files in LOOKED_FOR.items():
        detect = (BUNDLED / name / "bin" / "detect").read_text()
        assert all(file in detect for file in files), name


def test_a_refusal_says_what_was_looked_for_and_what_is_there():
    refusal = DetectError("The buildpack 'python' refuses this app.", advice="The log's last lines say more.")
    error = refused(refusal, ["python"], ["notes.txt", "src/app.js"])
    assert error.message == refusal.message
    assert error.advice == (
        "python looks for requirements.txt or pyproject.toml. There is notes.txt, src at the source's top."
    )
    assert refused(refusal, ["1-other"], []).advice.endswith("at the source's top. The log's last lines say more.")
