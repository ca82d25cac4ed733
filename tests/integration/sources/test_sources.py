"""A directory is sent as git would send it, what is missing is said once, and the CLI says what it left out."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from testkit.buildpacks import SHEBANG, run_image, succeeded
from testkit.builds import write_files

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "4d7a" * 16 + "\nsize 12345\n"
FILES = {
    "bin/detect": "#!/bin/sh\necho Own\n",
    "bin/compile": SHEBANG + 'echo "HAS $(cd "$1" && find . -type f | sort | paste -sd,)"\n',
    "Procfile": "web: true\n",
    ".gitignore": "dist/\nnode_modules/\n",
    "dist/index.html": "kept",
    "dist/other": "",
    "node_modules/x/a": "",
    "node_modules/x/b": "",
    ".env.local": "password",
    "picture.psd": POINTER,
    ".gitmodules": '[submodule "lib"]\n\tpath = lib\n\turl = https://example.org/lib.git\n',
}


@pytest.fixture
def checkout(tmp_path):
    folder = write_files(tmp_path / "app", FILES)
    subprocess.run(["git", "init", "-q", folder], check=True)
    subprocess.run(["git", "add", "-f", "dist/index.html"], cwd=folder, check=True)
    (folder / ".git/info/exclude").write_text(".env.local\n")
    (folder / "shared").symlink_to("../shared")
    (folder / "lib").mkdir()
    return folder


@pytest.mark.kind("sources")
def test_a_build_gets_what_git_would_send_and_its_log_says_what_is_missing(built, checkout, record_property):
    build = built(checkout, "checkout")
    succeeded(built, build)
    log = built.log(build)
    sent = "./.gitignore,./.gitmodules,./Procfile,./bin/compile,./bin/detect,./dist/index.html,./picture.psd"
    assert f"HAS {sent}" in log.splitlines()
    for line in (
        " !     Links lead out of the source, and what they point to is not part of it: shared -> ../shared.",
        " !     Files are Git LFS pointers, without their content: picture.psd.",
        " !     Submodules without their files: lib.",
    ):
        assert sum(found.startswith(line) for found in log.splitlines()) == 1, log
    assert run_image(built, build, "cat", "dist/index.html") == "kept"
    record_property("seen", "dist/index.html is in, .env.local is not; three lines in the log")


@pytest.mark.kind("sources")
def test_the_command_line_says_what_it_left_out_and_why(farm, checkout, record_property):
    told = build_command(farm, checkout)
    assert "left out: 4 files (3 by .gitignore, 1 by .git/info/exclude; --verbose lists them)" in told
    told = build_command(farm, checkout, "--verbose")
    assert "left out: 4 files (3 by .gitignore, 1 by .git/info/exclude)" in told
    for line in (
        "  .env.local: .git/info/exclude, line 1: .env.local",
        "  dist/other: .gitignore, line 1: dist/",
        "  node_modules/ (2 files): .gitignore, line 2: node_modules/",
    ):
        assert line in told
    (checkout / ".gitignore").unlink()
    (checkout / ".git/info/exclude").unlink()
    assert "left out" not in "\n".join(build_command(farm, checkout))
    record_property("seen", "4 files, with their rules if asked")


def build_command(farm, directory, *options):
    command = [sys.executable, "-m", "buildfarm", "build", str(directory), "--app", "local/app", "--detach", *options]
    environment = {**os.environ, "BUILDFARM_NAMESPACE": farm.settings.namespace}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
