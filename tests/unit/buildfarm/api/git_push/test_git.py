"""What the API needs to take pushes, and what git gets of its surroundings."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from buildfarm.api.routes.git_push import git as module
from buildfarm.api.routes.git_push.git import Git, GitError, check_programs
from buildfarm.api.routes.git_push.push import make_router
from buildfarm.errors import SetupError
from buildfarm.settings import Settings

MIB = 1024 * 1024


@pytest.fixture
def git():
    folder = Path(tempfile.mkdtemp())
    yield Git(folder, MIB)
    shutil.rmtree(folder)


def test_a_missing_program_is_named_before_the_api_listens(monkeypatch, tmp_path):
    for name in ("prlimit", "choom", "nice", "tar"):
        (tmp_path / name).symlink_to("/bin/true")
    monkeypatch.setitem(module._ENVIRONMENT, "PATH", str(tmp_path))  # the one that git gets
    with pytest.raises(SetupError, match="lacks git") as error:
        check_programs()
    assert "apt-get install git" in error.value.advice


def test_folders_that_an_earlier_process_left_are_removed_at_the_start(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("buildfarm-push-8088-left", "buildfarm-push-80-others"):
        (tmp_path / name / "git").mkdir(parents=True)
    make_router(Settings(api_port=8088))
    assert [path.name for path in tmp_path.iterdir()] == ["buildfarm-push-80-others"]


def test_git_has_no_configuration_but_ours(git, monkeypatch, tmp_path):
    (tmp_path / ".gitconfig").write_text("[core]\n\tfsmonitor = touch /tmp/never\n[user]\n\tname = someone\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.name")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "someone")
    git.prepare()
    with pytest.raises(GitError):
        git.run("config", "user.name")
    assert not list(git.repository.glob("hooks/*"))


def test_git_works_within_limits_and_not_as_root(git):
    git.prepare()
    with git.start("cat-file", "--batch", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        # The limits are set when the program is git: what is before it replaces itself.
        while Path(f"/proc/{process.pid}/comm").read_text().strip() != "git":
            assert process.poll() is None
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        users = Path(f"/proc/{process.pid}/status").read_text().partition("Uid:")[2].split()[:4]
        first = Path(f"/proc/{process.pid}/oom_score_adj").read_text().strip()
        process.kill()
    values = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()[1:]}
    assert (values["Max file size"], values["Max address space"]) == (str(MIB), str(256 * MIB))
    assert first == "1000"
    assert set(users) == {"65534" if os.geteuid() == 0 else str(os.geteuid())}


def test_an_error_is_gits_last_lines_without_control_characters(git):
    git.prepare()
    with pytest.raises(GitError, match=r"Not a valid object name .*\[2Jx") as error:
        git.run("cat-file", "-t", "\x1b[2Jx")
    assert str(error.value).isprintable()


def test_a_locked_folder_is_out_of_the_reach_of_git(git):
    git.prepare()
    git.lock()
    assert git.folder.stat().st_mode & 0o777 == 0o700
    assert git.folder.stat().st_uid == os.geteuid()
