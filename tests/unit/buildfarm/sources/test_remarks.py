"""What the log of a build remarks about a source that lacks something."""

from __future__ import annotations

import pytest

from buildfarm.sources.remarks import leads_out, remarks
from workers.build_folder import BuildFolder

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "4d7a" * 16 + "\nsize 12345\n"


@pytest.fixture
def lines(tmp_path):
    root = tmp_path / "app"
    root.mkdir()

    def lines_for(files=None, links=None):
        for name, content in (files or {}).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
        for name, target in (links or {}).items():
            (root / name).symlink_to(target)
        app = BuildFolder(root)
        return list(remarks(app.scan().found, lambda path: app.read(path, 10_000) or b"", app.link_target))

    return lines_for


LEADS_OUT = [
    ("lib", "../shared", True),
    ("a/lib", "../../shared", True),
    ("lib", "/opt/lib", True),
    ("a/b/c", "../../../app", False),  # the app's own folder, by its name in the sandbox
    ("Procfile", "deploy/Procfile", False),
    ("a/lib", "../b/../c", False),
    ("a", "/app/b", False),
    ("a", "/apps/b", True),
    ("a", ".", False),
    ("a", "b/../../x", True),
]


@pytest.mark.kind("sources")
@pytest.mark.parametrize(("path", "target", "out"), LEADS_OUT)
def test_a_link_leads_out_if_its_target_is_not_in_the_app(record_property, path, target, out):
    assert leads_out(path, target) == out
    record_property("seen", "leads out" if out else "stays inside")


@pytest.mark.kind("sources")
def test_links_that_leave_the_source_get_one_line(lines, record_property):
    assert lines({"a/b": ""}, {"lib": "../shared", "inside": "a/b", "z": "/opt/z"}) == [
        "Links lead out of the source, and what they point to is not part of it: lib -> ../shared, z -> /opt/z."
    ]
    record_property("seen", "one line names both links")


@pytest.mark.kind("sources")
def test_lfs_pointers_get_one_line(lines, record_property):
    found = lines(
        {f"{number}.psd": POINTER for number in range(7)} | {"like.txt": "x" * len(POINTER), "short": "version"}
    )
    assert "\n".join(found) == (
        "Files are Git LFS pointers, without their content: 0.psd, 1.psd, 2.psd, 3.psd, 4.psd and 2 more. "
        "Run `git lfs pull`, and build the directory with `buildfarm build`."
    )
    record_property("seen", "one line for seven pointers")


@pytest.mark.kind("sources")
def test_submodules_get_one_line(lines, record_property):
    modules = (
        '[submodule "a"]\n\tpath = vendor/a\n\turl = x\n[submodule "b"]\n\tpath = "b c"\n[submodule "d"]\n\tpath = d\n'
    )
    absent, present = lines({".gitmodules": modules, "vendor/a/x/y": "", "d2/x": ""})
    assert absent.startswith("Submodules without their files: b c, d. Run `git submodule update --init --recursive`")
    assert present == ("Submodules are built with the files that were in their folders: vendor/a.")
    record_property("seen", "absent ones and present ones")


def test_a_source_that_has_everything_gets_no_line(lines):
    assert lines({"app.py": "", "a/b": "x" * 150, ".gitmodules": "[core]\n"}, {"link": "a/b"}) == []


def test_what_a_node_could_fetch_itself_says_how(tmp_path):
    (tmp_path / "a.psd").write_text(POINTER)
    (tmp_path / ".gitmodules").write_text('[submodule "a"]\n\tpath = a\n\turl = x\n')
    app = BuildFolder(tmp_path)
    found = remarks(app.scan().found, lambda path: app.read(path, 10_000) or b"", app.link_target, fetched=True)
    assert "".join(found) == (
        "Files are Git LFS pointers, without their content: a.psd. "
        "To fetch it, set the credential of the repository with --lfs: docs/private-repositories.md."
    )
