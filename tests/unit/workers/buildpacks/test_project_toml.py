"""project.toml: buildpacks beside the app, what is excluded, and which schemas are read."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.buildpacks.address import BundledBuildpack, FolderBuildpack, GitBuildpack
from buildfarm.errors import CompileError, DetectError
from buildfarm.oci.tree import scan
from workers.buildpacks.manifests import AppManifest, read_manifests
from workers.buildpacks.slugignore import _REMOVE, excluded_paths

FOLDERS = {"bp", "tools/bp", "python", "cnb/1"}

SAMPLE = """
[project]
id = "io.buildpacks.bash-script"
[build]
exclude = ["README.md", "cnb"]
[[build.buildpacks]]
uri = "cnb/1/"
"""


def read(text: str) -> AppManifest:
    return read_manifests({"project.toml": text}.get, FOLDERS.__contains__)


def group(*lines: str) -> str:
    return "".join(f"[[io.buildpacks.group]]\n{line}\n" for line in lines)


@pytest.mark.parametrize(
    ("line", "buildpack"),
    [
        ('uri = "./bp"', FolderBuildpack("bp")),
        ('uri = "bp/"', FolderBuildpack("bp")),
        ('uri = "./x/../tools/bp"', FolderBuildpack("tools/bp")),
        ('uri = "python"', FolderBuildpack("python")),  # as with pack, a folder wins over a name
        ('uri = "nodejs"', BundledBuildpack("nodejs")),
        ('id = "python"', BundledBuildpack("python")),
        ('uri = "https://h/x.git#zoe/a#1"', GitBuildpack("https://h/x.git", "zoe/a#1")),
    ],
    ids=["dotted", "plain", "normalised", "folder-named-like-one", "name", "id", "address"],
)
@pytest.mark.kind("project.toml")
def test_a_uri_is_a_folder_of_the_app_or_a_name_or_an_address(line, buildpack, record_property):
    found = read(group(line))
    record_property("seen", f"{line} is {buildpack}")
    assert found.buildpacks == (buildpack,)
    assert found.pinned == buildpack.pinned


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        (group('uri = "../bp"'), DetectError, "buildpack 1: '../bp' is not a folder inside of the app"),
        (group('uri = "/etc"'), DetectError, "'/etc' is not a folder inside"),
        (group('uri = "."'), DetectError, "'.' is not a folder inside"),
        (group('id = "python"', 'uri = "./absent"'), DetectError, "buildpack 2: the app has no folder './absent'"),
        (group('uri = "gcr.io/paketo-buildpacks/python:2.22.3"'), DetectError, "does not name a buildpack"),
        ('[[io.buildpacks.group]]\nid = "a/b"\n[io.buildpacks.group.script]\ninline = "x"', DetectError, "inline"),
        ('[[io.buildpacks.post.group]]\nid = "procfile"', DetectError, "names no group of its own"),
        ('[io.buildpacks]\ninclude = ["a"]\nexclude = ["b"]', CompileError, "both include and exclude"),
        ('[io.buildpacks]\nexclude = "a"', CompileError, "must be lists of patterns"),
        ('[_]\nschema-version = "0.3"', CompileError, "schema version '0.3'"),
    ],
    ids=["above", "absolute", "the app", "absent", "image", "script", "post", "both", "no list", "version"],
)
@pytest.mark.kind("project.toml")
def test_what_cannot_be_followed_is_refused_in_one_sentence(text, kind, told, record_property):
    with pytest.raises(kind, match=r"project\.toml") as raised:
        read(text)
    record_property("seen", raised.value.message)
    assert told in raised.value.message


EXCLUDE = 'exclude = ["x"]\n'


@pytest.mark.parametrize(
    ("text", "excluded"),
    [
        (f"[io.buildpacks]\n{EXCLUDE}", ("x",)),
        (f"[io.buildpacks.build]\n{EXCLUDE}", ("x",)),  # a draft of 0.2
        (f"[build]\n{EXCLUDE}", ("x",)),
        (f'[_]\nschema-version = "0.2"\n[io.buildpacks]\n{EXCLUDE}', ("x",)),
        (f'[_]\nschema-version = "0.1"\n[build]\n{EXCLUDE}', ("x",)),
        (f'[_]\nschema-version = "0.2"\n[build]\n{EXCLUDE}', ()),  # a table of somebody else there
        (f'[_]\nschema-version = "0.1"\n[io.buildpacks]\n{EXCLUDE}', ()),
    ],
)
@pytest.mark.kind("project.toml")
def test_the_schema_version_decides_which_tables_are_read(text, excluded, record_property):
    found = read(text).exclude
    record_property("seen", f"excludes {', '.join(found) or 'nothing'}")
    assert found == excluded


def test_the_public_sample_and_the_buildpacks_around_a_group():
    assert read(SAMPLE) == AppManifest(buildpacks=(FolderBuildpack("cnb/1"),), exclude=("README.md", "cnb"))
    around = '[[io.buildpacks.pre.group]]\nid = "apt"\n[[io.buildpacks.post.group]]\nid = "procfile"\n'
    assert [str(item) for item in read(around + group('uri = "./bp"')).buildpacks] == ["apt", "./bp", "procfile"]


def test_variables_of_both_schemas_are_read():
    assert read('[[io.buildpacks.build.env]]\nname = "A"\nvalue = "1"').env == {"A": "1"}
    assert read('[[build.env]]\nname = "A"\nvalue = "1"').env == {"A": "1"}


@pytest.mark.parametrize("entry", ['name = "A"', 'value = "1"'])
def test_a_variable_without_a_name_or_value_is_refused(entry):
    with pytest.raises(CompileError, match="lacks its name or value"):
        read(f"[[io.buildpacks.build.env]]\n{entry}")


FILES = ("README.md", "cmd/main.go", "cmd/main_test.go", "cmd/sub/x.go", "go.mod", "docs/a.md", "docs/keep.md",
         "secret.txt", "deep/er/secret.txt", " odd name", "#hash")  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A folder with these files, in which git is asked what it would ignore."""
    folder = tmp_path_factory.mktemp("tree")
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    return folder


def left(tree, **patterns) -> set[str]:
    """The files that stay, after the topmost paths were removed."""
    found = [item for item in scan(tree).found if "/.git" not in item.name]
    gone = excluded_paths(found, AppManifest(**patterns))
    return {name for name in FILES if not any(name == path or name.startswith(f"{path}/") for path in gone)}


@pytest.mark.parametrize(
    ("patterns", "stay"),
    [
        ({"exclude": ("secret.txt",)}, set(FILES) - {"secret.txt", "deep/er/secret.txt"}),
        ({"exclude": ("/secret.txt", "docs/")}, set(FILES) - {"secret.txt", "docs/a.md", "docs/keep.md"}),
        ({"exclude": ("*.md", "!keep.md")}, set(FILES) - {"README.md", "docs/a.md"}),
        ({"exclude": ("docs", "!docs/keep.md")}, set(FILES) - {"docs/a.md", "docs/keep.md"}),
        ({"include": ("cmd/", "go.mod")}, {"cmd/main.go", "cmd/main_test.go", "cmd/sub/x.go", "go.mod"}),
        ({"include": ("cmd", "!*_test.go")}, {"cmd/main.go", "cmd/sub/x.go"}),
        ({"include": ("*.go", "!*_test.go")}, {"cmd/main.go", "cmd/sub/x.go"}),
        ({"include": ("**/er/",)}, {"deep/er/secret.txt"}),
        ({"include": ("absent",)}, set()),
    ],
    ids=[
        "name",
        "anchored",
        "exception",
        "no-exception-in-a-folder",
        "folder",
        "exception-in-an-included-folder",
        "include-exception",
        "stars",
        "nothing",
    ],
)
@pytest.mark.kind("project.toml")
def test_patterns_are_those_of_gitignore(tree, patterns, stay, record_property):
    assert left(tree, **patterns) == stay
    record_property("seen", f"{patterns} leaves {len(stay)} of {len(FILES)} files")


LINES = st.lists(
    st.sampled_from(["*.md", "!keep.md", "docs", "docs/", "/docs/*", "!docs/a.md", "secret.txt", "deep/**", "**/er",
                     "c?d", "[a-d]*", "cmd/*.go", "!main*", "", "# words", "\\#hash", "*", "!*/"]), max_size=5
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(LINES)
def test_exclude_leaves_what_git_would_not_ignore(tree, lines):
    ignore = tree / ".git/info/exclude"
    ignore.write_text("".join(f"{line}\n" for line in lines))
    asked = ["git", "-c", "core.excludesFile=/dev/null", "-C", str(tree), "ls-files", "-oz", "--exclude-standard"]
    listed = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    assert left(tree, exclude=tuple(lines)) == set(filter(None, listed.split("\0")))


@pytest.mark.parametrize("lines", [("[",), ("/",)])
def test_a_pattern_that_is_none_is_refused_or_matches_nothing(tree, lines):
    try:
        assert left(tree, exclude=lines) == set(FILES)
    except CompileError as error:
        assert "project.toml" in error.message


def test_files_in_read_only_folders_are_removed_too(tmp_path):
    for name in ("kept/gone", "kept/stays", "gone/deep/er/x", "-dash", "plain"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "link").symlink_to("kept")
    for name in ("kept", "gone/deep/er", "gone/deep", "gone"):
        (tmp_path / name).chmod(0o555)
    paths = b"kept/gone\0gone\0-dash\0link\0"
    done = subprocess.run(["bash", "-uc", _REMOVE], input=paths, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["kept", "kept/stays", "plain"]
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o555
