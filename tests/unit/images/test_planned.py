"""What buildpacks with a plan have in common: its words are variables of their shell, its processes the release."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

IMAGES = Path(__file__).parents[3] / "images"
LIBRARY = IMAGES / "builder/root/usr/lib/buildfarm"
COMPILE = """#!/bin/bash
set -euo pipefail
source /usr/lib/buildfarm/planned
build_front_end
for step in "${steps[@]}"; do perform "$step"; done
echo "own words: ${own:-none}"
"""
# The buildpack nodejs: says whether it was given a plan, and leaves what its plan would be.
NODE_PLAN = """#!/bin/bash
echo planned >>/tmp/planned
jq -n '{steps: ["npm ci"], warnings: ["old"], processes: {web: "node ."}, runtime: true, bun: {runtime: true}}'
"""
NODE_COMPILE = """#!/bin/bash
here=${0%/bin/compile}
if [ -f "$here/made-plan.json" ]; then jq -c . "$here/made-plan.json"; else "$here/bin/plan" | jq -c .; fi
echo 'export FRONT=built' >"$here/export"
"""


class Buildpack:
    """A buildpack in a folder, beside a copy of what it calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("app", "cache", "env", "tmp"):
            (folder / name).mkdir()
        shutil.copytree(LIBRARY, folder / "library", ignore=shutil.ignore_patterns("__pycache__"))
        self.program("nodejs/bin/plan", NODE_PLAN)
        self.program("nodejs/bin/compile", NODE_COMPILE)
        self.program("own/bin/compile", COMPILE)
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            path.write_text(self._here(path.read_text()))

    def _here(self, text: str) -> str:
        for theirs, ours in (("/tmp/", "tmp/"), ("/usr/lib/buildfarm", "library"), ("/buildpacks/nodejs", "nodejs")):
            text = text.replace(theirs, f"{self.folder}/{ours}")
        return text

    def program(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def plan(self, **words: Any) -> None:
        plan = {"problems": [], "warnings": [], "steps": [], "processes": {}, **words}
        (self.folder / "made.json").write_text(json.dumps(plan))
        self.program("own/bin/plan", f'#!/bin/bash\ncat "{self.folder}/made.json"\n')

    def compile(self, code: int = 0, **config: str) -> str:
        for name, value in config.items():
            (self.folder / "env" / name).write_text(value)
        return self.run("own/bin/compile", "app", "cache", "env", code=code)

    def run(self, program: str, *words: str, code: int = 0) -> str:
        """Words that are not the name of a file here stay as they are."""
        command = [
            "bash",
            *(str(self.folder / word) if (self.folder / word).exists() else word for word in (program, *words)),
        ]
        done = subprocess.run(
            command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert done.stderr == ""
        return done.stdout


@pytest.fixture
def buildpack(tmp_path):
    if shutil.which("jq") is None:
        pytest.skip("plans are read with jq")
    return Buildpack(tmp_path)


def test_each_step_is_one_command_whatever_is_in_it(buildpack):
    buildpack.plan(steps=["echo 'a  b'", 'echo "$((1 + 1))\n3"', "echo *"], warnings=["it's $old", '`so` "so"'])
    told = buildpack.compile()
    assert "       a  b\n" in told and "       2\n       3\n" in told
    assert told.startswith(' !     it\'s $old\n !     `so` "so"\n')


def test_problems_end_the_build(buildpack):
    buildpack.plan(problems=["one", "two"], steps=["echo never"])
    assert buildpack.compile(code=1) == " !     one\n !     two\n"


def test_a_plan_that_cannot_be_read_ends_the_build(buildpack):
    buildpack.program("own/bin/plan", "#!/bin/bash\nexit 1\n")
    assert buildpack.compile(code=1) == ""


def test_words_of_the_buildpack_are_variables(buildpack):
    buildpack.plan(mine="it's")
    buildpack.program("own/lib/words.jq", '@sh "own=\\(.mine)"')
    assert "own words: it's\n" in buildpack.compile()


def test_config_vars_that_are_called_like_our_lists_reach_the_commands(buildpack):
    buildpack.plan(steps=['echo "$steps, $problems, $words, $release"'], problems=[])
    assert "       one, two, three, four\n" in buildpack.compile(
        steps="one", problems="two", words="three", release="four"
    )


@pytest.mark.parametrize("processes", [{"web": 'bin/shop --say "it\'s"', "worker": "x"}, {}])
def test_the_release_is_what_the_plan_said(buildpack, processes):
    buildpack.plan(processes=processes)
    buildpack.compile()
    written = buildpack.run("library/planned-release", "own", "app")
    (buildpack.folder / "own/release.yaml").unlink()
    assert written == buildpack.run("library/planned-release", "own", "app")
    assert ("default_process_types:" in written) is bool(processes)


def test_the_front_end_is_planned_once(buildpack):
    """What the language's plan says of it is what is built; what starts is the language's."""
    (buildpack.folder / "app/package.json").write_text('{"scripts": {"build": "x"}}')
    front = json.loads(buildpack.run("library/front-end", "plan", "app", "env"))
    assert (front["steps"], front["warnings"], front["problems"]) == (["npm ci"], ["old"], [])
    buildpack.plan(front_end=front["steps"], front_end_plan=front["plan"], steps=["npm ci", 'echo "$FRONT"'])
    told = buildpack.compile()
    made = {**front["plan"], "processes": {}, "runtime": False, "bun": {"runtime": False}}
    assert json.loads(told.splitlines()[0]) == made
    assert "       built\n" in told
    assert (buildpack.folder / "tmp/planned").read_text() == "planned\n"


def test_a_plan_without_that_of_the_front_end_has_it_made(buildpack):
    buildpack.plan(front_end=["npm ci"], steps=["npm ci"])
    assert json.loads(buildpack.compile().splitlines()[0])["processes"] == {}
    assert (buildpack.folder / "tmp/planned").read_text() == "planned\n"


@pytest.mark.parametrize(
    ("name", "said", "words"),
    [
        ("go", "/usr/bin/ld: cannot find -lnothere: No such file or directory", "A C library is missing."),
        ("go", "x.go:3:11: fatal error: nothere.h: No such file or directory", "A C library is missing."),
        (
            "go",
            "reading https://proxy.example/x/@v/v1.zip: 403 Forbidden\ndial tcp: i/o timeout",
            "refuses to give a module",
        ),
        ("go", "fatal: could not read Username for 'https://x': terminal prompts disabled", "refuses to give a module"),
        ("go", "x: module lookup disabled by GOPROXY=off", "A module cannot be fetched from here."),
        ("go", "go: updates to go.mod needed; to update it:", "Run 'go mod tidy'"),
        (
            "deno",
            'error: Failed loading https://x/ms for package "ms"\n    0: Bad response: 403',
            "refuses to give a module",
        ),
        ("deno", "error: Could not find npm package 'ms' matching '99'.", "npm has no such module"),
        ("deno", 'error: Failed loading https://x/ms for package "ms"\n  0: dns error', "cannot be fetched from here"),
        ("rust", "this version of Cargo is older than the `2027` edition, and only supports", "needs a newer Rust"),
        ("rust", "error: linking failed: /usr/bin/ld: cannot find -lnothere", "A C library is missing."),
        ("cpp", "make: *** No rule to make target 'a.c', needed by 'web'.  Stop.", "is not in the app"),
    ],
)
def test_a_failure_is_followed_by_what_to_do(name, said, words):
    """The words are those of the tools; the first sentence whose pattern is in them counts."""
    text = (IMAGES / "buildpacks" / name / "bin/compile").read_text()
    sentences = re.findall(r'^    "(.+?) => (.+)"(?: \\|; do|)$', text, re.MULTILINE)
    assert words in next(sentence for pattern, sentence in sentences if re.search(pattern, said))
