"""The helper that saves and restores dependency trees for buildpacks."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

KEEP = Path(__file__).parents[3] / "images/builder/root/usr/lib/buildfarm/keep"


class Keep:
    """The helper in its own folder, whose cache is ``cache``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "status").write_text("Package: libc6\n")

    def __call__(self, *words: str, code: int = 0, **config_vars: str) -> str:
        variables = {"PATH": os.environ["PATH"], "BUILDFARM_PACKAGES": str(self.folder / "status"), **config_vars}
        command = ["bash", str(KEEP), *words]
        done = subprocess.run(command, cwd=self.folder, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout.strip()


@pytest.fixture
def keep(tmp_path):
    return Keep(tmp_path)


def write(folder: Path, name: str, content: str = "") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_a_tree_comes_back_under_its_own_key_alone(keep):
    write(keep.folder, "made/a/b", "one")
    keep("save", "cache", "trees", "k1", "made")
    write(keep.folder, "back/left.over")
    keep("restore", "cache", "trees", "k1", "back")
    assert [path.name for path in keep.folder.glob("back/**/*") if path.is_file()] == ["b"]
    keep("restore", "cache", "trees", "k2", "back", code=1)
    assert (keep.folder / "back/a/b").read_text() == "one", "what is there is not the helper's to remove"


def test_what_was_copied_does_not_count_as_moved(keep):
    write(keep.folder, "made/a", "one")
    keep("save", "cache", "trees", "k1", "made")
    keep("restore", "cache", "trees", "k1", "back", "moved")
    assert not (keep.folder / "moved").exists()


def test_saving_replaces_what_was_kept(keep):
    write(keep.folder, "made/old", "one")
    keep("save", "cache", "trees", "k1", "made")
    (keep.folder / "made/old").rename(keep.folder / "made/new")
    keep("save", "cache", "trees", "k2", "made")
    keep("restore", "cache", "trees", "k1", "back", code=1)
    keep("restore", "cache", "trees", "k2", "back")
    assert [path.name for path in (keep.folder / "back").iterdir()] == ["new"]


def test_modes_and_links_are_kept_and_read_only_folders_can_be_replaced(keep):
    path = write(keep.folder, "made/sub/run", "one")
    (keep.folder / "made/link").symlink_to("sub/run")
    path.chmod(0o555)
    path.parent.chmod(0o555)
    for key in ("k1", "k2"):
        keep("save", "cache", "trees", key, "made")
        keep("restore", "cache", "trees", key, "back")
    assert (keep.folder / "back/link").readlink() == Path("sub/run")
    assert (keep.folder / "back/sub").stat().st_mode & 0o777 == 0o555
    for folder in keep.folder.glob("**/sub"):
        folder.chmod(0o755)  # so that the test's folder can be deleted


def test_parts_of_a_tree_come_back_into_the_tree_that_is_there(keep):
    for name in ("node_modules/a", "packages/x/node_modules/b", "packages/x/code"):
        write(keep.folder, f"app/{name}", "first")
    keep("save", "cache", "parts", "k1", "app", "node_modules", "packages/x/node_modules")
    write(keep.folder, "app/packages/x/code", "second")
    write(keep.folder, "app/node_modules/left.over")
    keep("restore", "cache", "parts", "k1", "app")
    assert (keep.folder / "app/packages/x/code").read_text() == "second"
    assert [path.name for path in (keep.folder / "app/node_modules").iterdir()] == ["a"]


def test_a_key_holds_words_files_folders_and_the_builders_packages(keep):
    file = write(keep.folder, "lock", "one")
    inner = write(keep.folder, "bin/compile", "one")
    keys = [keep("key", "24.1.0", "lock", "bin")]
    assert keep("key", "24.1.0", "lock", "bin") == keys[0]
    keys.append(keep("key", "24.2.0", "lock", "bin"))
    file.write_text("two")
    keys.append(keep("key", "24.1.0", "lock", "bin"))
    inner.write_text("two")
    keys.append(keep("key", "24.1.0", "lock", "bin"))
    inner.chmod(0o755)
    keys.append(keep("key", "24.1.0", "lock", "bin"))
    (keep.folder / "status").write_text("Package: libpq5\n")
    keys.append(keep("key", "24.1.0", "lock", "bin"))
    file.unlink()
    keys.append(keep("key", "24.1.0", "lock", "bin"))
    assert len(set(keys)) == len(keys)


words = some.lists(some.text(some.characters(codec="utf-8", exclude_characters="\0/."), max_size=5), max_size=3)


@settings(max_examples=25, deadline=None)
@given(one=words, other=words)
def test_different_words_have_different_keys(tmp_path_factory, one, other):
    keep = Keep(tmp_path_factory.mktemp("keep"))
    assert (keep("key", *one) == keep("key", *other)) == (one == other)


def test_nothing_kept_restores_nothing_and_another_word_is_refused(keep):
    keep("restore", "cache", "none", "k", "target", code=1)
    keep("forget", "cache", "none", "k", "target", code=2)


def test_a_config_var_that_names_tars_archive_changes_no_key(keep):
    words = ("word", str(write(keep.folder, "lock", "one")))
    before = keep("key", *words, TAPE=str(keep.folder / "tape"))
    assert before == keep("key", *words)
    write(keep.folder, "lock", "two")
    assert keep("key", *words, TAPE=str(keep.folder / "tape")) != before
    assert not (keep.folder / "tape").exists()


def test_a_tree_is_derived_from_another_without_changing_it(keep):
    for name, content in {"one/stays": "1", "one/goes": "2", "one/changes": "3", "two/goes": "4"}.items():
        write(keep.folder, f"made/{name}", content)
    keep("save", "cache", "whole", "k", "made", "one", "two")
    write(keep.folder, "changed/one/changes", "another")
    (keep.folder / "removed").write_bytes(b"one/goes\0two\0")
    keep("derive", "cache", "less", "k", "whole", "removed", "changed")
    keep("restore", "cache", "less", "k", "back")
    found = {str(path.relative_to(keep.folder / "back")): path.read_text() for path in keep.folder.glob("back/*/*")}
    assert found == {"one/stays": "1", "one/changes": "another"}
    keep("restore", "cache", "whole", "k", "again")
    assert (keep.folder / "again/one/changes").read_text() == "3"
    links = [keep.folder / f"cache/kept/{name}/tree/one/stays" for name in ("whole", "less")]
    assert links[0].samefile(links[1])


def test_a_tree_of_which_nothing_is_left_restores_nothing(keep):
    write(keep.folder, "made/one/goes")
    keep("save", "cache", "whole", "k", "made", "one")
    (keep.folder / "removed").write_bytes(b"one\0")
    (keep.folder / "changed").mkdir()
    keep("derive", "cache", "less", "k", "whole", "removed", "changed")
    write(keep.folder, "app/own")
    keep("restore", "cache", "less", "k", "app")
    assert [path.name for path in (keep.folder / "app").iterdir()] == ["own"]


def test_nothing_is_derived_from_what_is_not_kept_in_parts(keep):
    write(keep.folder, "made/one")
    keep("save", "cache", "whole", "k", "made")
    keep("derive", "cache", "less", "k", "whole", "removed", "changed", code=1)
    keep("derive", "cache", "less", "k", "absent", "removed", "changed", code=1)
